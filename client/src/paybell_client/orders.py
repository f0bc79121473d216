"""Orders of the order service: created, read, cancelled and waited for."""

import secrets
from collections.abc import AsyncGenerator, Iterable

from paybell_client.calls import DEFAULT_CURRENCY, Calls, Id, part_of
from paybell_client.model import Order, Orders
from paybell_client.waiting import order_news, until_paid

_ID_MAX = 2**63 - 1


class OrderCalls(Calls):
    """What the order service does for a caller."""

    __slots__ = ()

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
        return await self._get(f"/orders/{part_of(order_id)}", Order)

    async def read_orders(self, order_ids: Iterable[Id]) -> list[Order]:
        """Read at most 200 orders at once; those that do not exist are left out."""
        return (await self._get(f"/orders?ids={','.join(map(part_of, order_ids))}", Orders)).orders

    async def cancel_order(self, order_id: Id) -> Order:
        """Cancel an unpaid order; again the same answer.

        Raises:
            AlreadyPaid: it was paid.
        """
        return await self._post(f"/orders/{part_of(order_id)}/cancel", Order)

    async def wait_for_order(self, order_id: Id, *, seconds: float = 30.0) -> Order:
        """Wait until the order service knows that an order is paid; return the order.

        Follows the order's event stream, and asks with growing pauses where there is none. An outage that
        is over in time is waited out.

        Raises:
            OrderCancelled: it was cancelled instead.
            NotConfirmed: ``seconds`` are over; it may be paid later.
        """
        path = f"/orders/{part_of(order_id)}"

        def news() -> AsyncGenerator[Order, None]:
            return order_news(
                self._transport, self._token, f"{path}/events", lambda: self.read_order(order_id)
            )

        return await until_paid(f"Order {order_id}", news, seconds)
