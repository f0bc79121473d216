"""Pay orders: applied for, paid, waited for, closed and refunded."""

from collections.abc import AsyncGenerator

from paybell_client.calls import DEFAULT_CURRENCY, Calls, Id, new_key, part_of
from paybell_client.model import Attempt, PayOrder, Refund, Refunds
from paybell_client.waiting import pay_order_news, until_paid


class PayOrderCalls(Calls):
    """What the pay service does with pay orders for a caller."""

    __slots__ = ()

    async def apply_for_pay_order(
        self,
        biz_order_no: Id,
        payer_id: str,
        amount: int,
        currency: str = DEFAULT_CURRENCY,
        subject: str = "",
        *,
        expires_in_seconds: int | None = None,
    ) -> PayOrder:
        """Apply for the pay order of an order of your own, or get the one there is.

        Raises:
            AlreadyPaid: it was paid. PayOrderClosed: it is closed.
            TermsDiffer: it has another payer, amount or currency.
        """
        body: dict[str, object] = {
            "bizOrderNo": str(biz_order_no),
            "payerId": payer_id,
            "amount": amount,
            "currency": currency,
            "subject": subject,
        }
        if expires_in_seconds is not None:
            body["expiresInSeconds"] = expires_in_seconds
        return await self._post("/pay-orders", PayOrder, body)

    async def read_pay_order(self, pay_order_id: Id) -> PayOrder:
        """Read a pay order."""
        return await self._get(f"/pay-orders/{part_of(pay_order_id)}", PayOrder)

    async def pay(self, pay_order_id: Id, pay_password: str) -> PayOrder:
        """Pay out of the caller's wallet; a pay order that is paid answers the same again.

        With a remote wallet the answer may not be paid yet: `wait_for_pay_order`.

        Raises:
            InsufficientBalance, WrongPayPassword, PayPasswordLocked, PayOrderClosed, NotTheirs: as they say.
        """
        return await self._post(
            f"/pay-orders/{part_of(pay_order_id)}/pay", PayOrder, {"payPassword": pay_password}
        )

    async def close_pay_order(self, pay_order_id: Id) -> PayOrder:
        """Close an unpaid pay order; again the same answer.

        Raises:
            AlreadyPaid: it was paid.
        """
        return await self._post(f"/pay-orders/{part_of(pay_order_id)}/close", PayOrder)

    async def wait_for_pay_order(self, pay_order_id: Id, *, seconds: float = 30.0) -> PayOrder:
        """Ask with growing pauses until a pay order is paid; return it.

        Raises:
            PayOrderClosed: it was closed instead.
            NotConfirmed: ``seconds`` are over; it may be paid later.
        """

        def news() -> AsyncGenerator[PayOrder, None]:
            return pay_order_news(self._transport, lambda: self.read_pay_order(pay_order_id))

        return await until_paid(f"Pay order {pay_order_id}", news, seconds)

    async def open_attempt(self, pay_order_id: Id, channel: str) -> Attempt:
        """Open a window of a channel to pay in, as the payer; while it is open the same again."""
        return await self._post(
            f"/pay-orders/{part_of(pay_order_id)}/attempts", Attempt, {"channel": channel}
        )

    async def refund(
        self, pay_order_id: Id, amount: int, reason: str = "", *, idempotency_key: str = ""
    ) -> Refund:
        """Give back some or all of a payment, once for each key.

        Args:
            pay_order_id: what was paid.
            amount: minor units.
            reason: for people.
            idempotency_key: the refund's number for ever; without one the call makes its own, which covers
                its own tries and no others.

        Raises:
            RefundExceedsPayment: more than is left.
        """
        body = {"amount": amount, "reason": reason}
        return await self._post(
            f"/pay-orders/{part_of(pay_order_id)}/refunds", Refund, body, idempotency_key or new_key()
        )

    async def read_refunds(self, pay_order_id: Id) -> list[Refund]:
        """Read the refunds of a payment, oldest first."""
        return (await self._get(f"/pay-orders/{part_of(pay_order_id)}/refunds", Refunds)).refunds
