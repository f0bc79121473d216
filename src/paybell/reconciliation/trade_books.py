"""What trade has written down, for whoever compares it with others."""

from collections.abc import AsyncIterator, Collection, Mapping

from paybell.messaging.events import TRADE_QUEUE, PaymentSucceeded
from paybell.reconciliation.entries import Bucket, Entry, Standing
from paybell.storage import Database, load_queries
from paybell.storage.operator_actions import note_action
from paybell.trade import store
from paybell.trade.model import Order, OrderStatus

_SQL = load_queries("paybell.trade", "books.sql")
_STANDINGS = {OrderStatus.UNPAID: Standing.OPEN, OrderStatus.CANCELLED: Standing.CLOSED}
_PAGE = 5_000


class TradeBooks:
    """The orders as entries. Reads in small statements that lock nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def buckets(self, after: int, last: int, width: int) -> Mapping[int, Bucket]:
        """Cut the orders of pay orders above ``after`` and up to ``last`` into buckets ``width`` ids wide."""
        rows = await self._database.fetch(_SQL["trade_buckets"], after, last, width)
        return {row["bucket"]: Bucket(row["orders"], row["digest"]) for row in rows}

    async def entries(self, after: int, last: int) -> AsyncIterator[list[Entry]]:
        """Go through the entries of such orders, a page at a time."""
        seen = 0
        while rows := await self._database.fetch(_SQL["trade_entries_between"], after, last, seen, _PAGE):
            yield [_entry(store.order(row)) for row in rows]
            seen = rows[-1]["id"]

    async def paid_unlinked(self) -> AsyncIterator[list[Entry]]:
        """Go through paid orders that know no pay order, a page at a time."""
        seen = 0
        while rows := await self._database.fetch(_SQL["paid_entries_without_pay_order"], seen, _PAGE):
            yield [_entry(store.order(row)) for row in rows]
            seen = rows[-1]["id"]

    async def find(self, numbers: Collection[int]) -> dict[int, Entry]:
        """Return entries by order number; missing ones are left out."""
        orders = await store.find(self._database, list(numbers))
        return {number: _entry(order) for number, order in orders.items()}

    async def forget_unapplied(self, numbers: Collection[int], who: str | None) -> None:
        """Make the inbox forget payments of these orders that it remembers although they are unpaid.

        Which operator did that is written down where there was something to forget.
        """
        event_ids = [PaymentSucceeded(number, "").event_id for number in numbers]
        async with self._database.transaction() as tx:
            rows = await tx.fetch(_SQL["forget_unapplied"], TRADE_QUEUE, event_ids, list(numbers))
            if rows and who is not None:
                await note_action(tx, who, "repair", "reconcile", [row["order_id"] for row in rows])


def _standing(order: Order) -> Standing:
    if order.refunded_amount == order.total_fee:
        return Standing.REFUNDED
    return _STANDINGS.get(order.status, Standing.PAID)


def _entry(order: Order) -> Entry:
    return Entry(
        number=order.id,
        pay_order_id=order.pay_order_id,
        user_id=order.buyer_id,
        amount=order.total_fee,
        refunded=order.refunded_amount,
        currency=order.currency,
        status=order.status.value,
        standing=_standing(order),
        changed_at=order.paid_at or order.cancelled_at or order.created_at,
    )
