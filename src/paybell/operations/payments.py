"""Payments as operators list them: pay orders of every merchant, with what the order service says of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from paybell.clock import Clock
from paybell.errors import Outage
from paybell.pay.lists import bounds, walk_pay_orders
from paybell.pay.model import PayOrder
from paybell.pay.store import pay_order
from paybell.storage import Database, Record, Transaction, load_queries
from paybell.storage.listing import Listing, Wanted
from paybell.trade import store
from paybell.trade.model import OrderStatus

_SQL = load_queries(__package__, "payments.sql")


@dataclass(frozen=True, slots=True)
class Payment:
    """A pay order, and the status of its order; None where there is none, or trade does not answer."""

    pay_order: PayOrder
    order_status: OrderStatus | None


class Payments:
    """The list of payments, and that of those which some listener may not have."""

    def __init__(self, pay: Database, trade: Database, clock: Clock, merchant_id: str) -> None:
        """Read both databases; orders are those of one merchant."""
        self._trade = trade
        self._merchant_id = merchant_id
        self.all: Listing[Payment] = Listing(pay, clock, walk_pay_orders, self._payments)
        # Paid, closed or refunded, and waiting to be published or listed by the last comparison.
        self.not_delivered: Listing[Payment] = Listing(pay, clock, _walk_not_delivered, self._payments)

    async def _payments(self, rows: Sequence[Record]) -> list[Payment]:
        orders = [pay_order(row) for row in rows]
        numbers = [order.biz_order_no for order in orders if order.merchant_id == self._merchant_id]
        try:
            found = await store.find(self._trade, numbers) if numbers else {}
        except Outage:
            found = {}
        statuses = {number: order.status for number, order in found.items()}
        return [
            Payment(
                order, statuses.get(order.biz_order_no) if order.merchant_id == self._merchant_id else None
            )
            for order in orders
        ]


async def _walk_not_delivered(tx: Transaction, wanted: Wanted, limit: int) -> Sequence[Record]:
    return await tx.fetch(_SQL["not_delivered"], *bounds(wanted), limit)
