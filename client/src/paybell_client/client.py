"""The calls of a shop: order, pay, wait until it is confirmed, give back.

Amounts are integers in minor units, ids strings of digits (numbers do where they are handed in).
"""

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import quote

from paybell_client.model import Attempt, Order, Orders, PayOrder, Refund, Refunds, Wallet
from paybell_client.transport import Token, Transport
from paybell_client.waiting import order_news, pay_order_news, until_paid

Id = str | int
Answer = TypeVar("Answer")
DEFAULT_CURRENCY = "CNY"
_ID_MAX = 2**63 - 1


class PaybellClient:
    """One caller of Paybell: a shop's backend, or with another token one of its buyers.

    All calls raise `Problem` when the service refuses and `Unavailable` when it is away for longer than the
    client tries. Those that change something may be repeated after either: see each for what it is known by.
    """

    __slots__ = ("_token", "_transport")

    def __init__(self, transport: Transport, token: Token) -> None:
        """Use `PaybellClient.open`."""
        self._transport = transport
        self._token = token

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        token: Token,
        *,
        connections: int = 64,
        retry_seconds: float = 20.0,
        timeout_seconds: float = 10.0,
    ) -> AsyncIterator["PaybellClient"]:
        """Open a client that closes its connections in the end.

        Args:
            url: http://… or https://….
            token: a bearer token, or what returns one; that is asked before every try.
            connections: at most; further requests wait for a free one.
            retry_seconds: how long a request is sent again before `Unavailable` is raised.
            timeout_seconds: how long one try may take.

        Raises:
            ValueError: the URL is none.
        """
        async with Transport.open(
            url, connections=connections, retry_seconds=retry_seconds, timeout_seconds=timeout_seconds
        ) as transport:
            yield cls(transport, token)

    def acting_as(self, token: Token) -> "PaybellClient":
        """Return the same client for another caller, over the same connections; it costs nothing."""
        return PaybellClient(self._transport, token)

    async def open_wallet(self, user_id: str, pay_password: str, currency: str = DEFAULT_CURRENCY) -> Wallet:
        """Open a user's wallet; the pay password has six digits.

        Raises:
            WalletExists: there is one; when a first try had no answer it may be that one's.
        """
        body = {"userId": user_id, "payPassword": pay_password, "currency": currency}
        return await self._post("/wallets", Wallet, body)

    async def read_wallet(self, user_id: str, currency: str = DEFAULT_CURRENCY) -> Wallet:
        """Read a balance."""
        return await self._get(f"/wallets/{_part(user_id)}?currency={_part(currency)}", Wallet)

    async def top_up(
        self,
        user_id: str,
        amount: int,
        currency: str = DEFAULT_CURRENCY,
        *,
        reference: str = "",
        idempotency_key: str = "",
    ) -> Wallet:
        """Put money into a wallet, once for each key.

        Args:
            user_id: whose.
            amount: minor units.
            currency: of which wallet.
            reference: the bank's own, by which its statement is matched.
            idempotency_key: the same for the same money whenever it is called again; without one the call
                makes its own, which covers its own tries and no others.
        """
        body = {"amount": amount, "currency": currency} | ({"reference": reference} if reference else {})
        return await self._post(
            f"/wallets/{_part(user_id)}/top-ups", Wallet, body, idempotency_key or _new_key()
        )

    async def create_order(
        self,
        buyer_id: str,
        total_fee: int,
        currency: str = DEFAULT_CURRENCY,
        subject: str = "",
        *,
        order_id: Id | None = None,
    ) -> Order:
        """Create an order with its pay order, or get the one of this id.

        Without an id the call draws one, which covers its own tries; hand in your own to call again.

        Raises:
            TermsDiffer: the order of this id has another buyer, fee, currency or subject.
        """
        body = {
            "orderId": str(secrets.randbelow(_ID_MAX) + 1 if order_id is None else order_id),
            "buyerId": buyer_id,
            "totalFee": total_fee,
            "currency": currency,
            "subject": subject,
        }
        return await self._post("/orders", Order, body)

    async def read_order(self, order_id: Id) -> Order:
        """Read an order."""
        return await self._get(f"/orders/{_part(order_id)}", Order)

    async def read_orders(self, order_ids: Iterable[Id]) -> list[Order]:
        """Read at most 200 orders at once; those that do not exist are left out."""
        return (await self._get(f"/orders?ids={','.join(map(_part, order_ids))}", Orders)).orders

    async def cancel_order(self, order_id: Id) -> Order:
        """Cancel an unpaid order; again the same answer.

        Raises:
            AlreadyPaid: it was paid.
        """
        return await self._post(f"/orders/{_part(order_id)}/cancel", Order)

    async def wait_for_order(self, order_id: Id, *, seconds: float = 30.0) -> Order:
        """Wait until the order service knows that an order is paid; return the order.

        Follows the order's event stream, and asks with growing pauses where there is none. An outage that
        is over in time is waited out.

        Raises:
            OrderCancelled: it was cancelled instead.
            NotConfirmed: ``seconds`` are over; it may be paid later.
        """
        path = f"/orders/{_part(order_id)}"

        def news() -> AsyncGenerator[Order, None]:
            return order_news(
                self._transport, self._token, f"{path}/events", lambda: self.read_order(order_id)
            )

        return await until_paid(f"Order {order_id}", news, seconds)

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
        return await self._get(f"/pay-orders/{_part(pay_order_id)}", PayOrder)

    async def pay(self, pay_order_id: Id, pay_password: str) -> PayOrder:
        """Pay out of the caller's wallet; a pay order that is paid answers the same again.

        With a remote wallet the answer may not be paid yet: `wait_for_pay_order`.

        Raises:
            InsufficientBalance, WrongPayPassword, PayPasswordLocked, PayOrderClosed, NotTheirs: as they say.
        """
        return await self._post(
            f"/pay-orders/{_part(pay_order_id)}/pay", PayOrder, {"payPassword": pay_password}
        )

    async def close_pay_order(self, pay_order_id: Id) -> PayOrder:
        """Close an unpaid pay order; again the same answer.

        Raises:
            AlreadyPaid: it was paid.
        """
        return await self._post(f"/pay-orders/{_part(pay_order_id)}/close", PayOrder)

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
        return await self._post(f"/pay-orders/{_part(pay_order_id)}/attempts", Attempt, {"channel": channel})

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
            f"/pay-orders/{_part(pay_order_id)}/refunds", Refund, body, idempotency_key or _new_key()
        )

    async def read_refunds(self, pay_order_id: Id) -> list[Refund]:
        """Read the refunds of a payment, oldest first."""
        return (await self._get(f"/pay-orders/{_part(pay_order_id)}/refunds", Refunds)).refunds

    async def _get(self, path: str, answer: type[Answer]) -> Answer:
        return await self._transport.send("GET", path, self._token, answer)

    async def _post(self, path: str, answer: type[Answer], body: object = None, key: str = "") -> Answer:
        return await self._transport.send("POST", path, self._token, answer, body, key=key)


def _part(text: Id) -> str:
    """Encode a part of a path or query."""
    return quote(str(text), safe="")


def _new_key() -> str:
    return secrets.token_hex(16)
