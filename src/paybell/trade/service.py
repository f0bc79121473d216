"""What one can do with an order."""

from collections.abc import Sequence
from datetime import timedelta

from paybell.batching import Batcher, bisect, is_no_outage
from paybell.clock import Clock
from paybell.errors import AlreadyPaid
from paybell.ids import Ids
from paybell.storage import Database
from paybell.tokens import Principal
from paybell.trade import store
from paybell.trade.applications import Applications
from paybell.trade.errors import NotTheBuyer, OrderCancelled, OrderMismatch, OrderNotFound
from paybell.trade.model import Order, OrderStatus, Purchase
from paybell.trade.order_checker import CHECK_SECONDS
from paybell.trade.pay_client import PayClient


class TradeService:
    """Creates, reads and cancels orders. Our own row comes first, so that nothing paid is unknown here."""

    def __init__(self, database: Database, pay: PayClient, ids: Ids, clock: Clock) -> None:
        self._database = database
        self._pay = pay
        self._ids = ids
        self._purchases = Batcher(self._insert_batch)
        self._links = Batcher(self._link_batch)
        self._applications = Applications(pay, clock)

    def new_id(self) -> int:
        """Return an id for an order whose shop gave none."""
        return self._ids.next()

    async def create(self, purchase: Purchase, traceparent: str) -> tuple[Order, bool]:
        """Return the order with its pay order, and whether it was made just now.

        Raises:
            OrderMismatch: the id exists with another fee, currency or buyer.
            OrderCancelled: it exists and was cancelled, so it cannot be paid any more.
            PayServiceUnavailable: the order is kept; the same request again completes it.
        """
        order, created = await self._purchases.submit(purchase)
        if order.status is OrderStatus.CANCELLED:
            raise OrderCancelled
        if order.pay_order_id is None:
            pay_order_id = await self._applications.apply(order, traceparent)
            order = await self._links.submit((order, pay_order_id))
        return order, created

    async def _insert_batch(self, purchases: Sequence[Purchase]) -> Sequence[tuple[Order, bool] | Exception]:
        """Insert many, each with its own outcome; one that the database refuses does not fail the others."""
        return await bisect(self._insert, purchases, is_no_outage)

    async def _insert(self, purchases: Sequence[Purchase]) -> Sequence[tuple[Order, bool] | Exception]:
        now = self._database.now
        check_at = now + timedelta(seconds=CHECK_SECONDS[0])
        orders, fresh = await store.insert(self._database, purchases, now, check_at)
        answers: list[tuple[Order, bool] | Exception] = []
        for purchase in purchases:
            order = orders[purchase.order_id]
            if order.agrees_with(purchase):
                answers.append((order, order.id in fresh))
                fresh.discard(order.id)
            else:
                answers.append(OrderMismatch())
        return answers

    async def _link_batch(self, links: Sequence[tuple[Order, int]]) -> Sequence[Order | Exception]:
        return await bisect(self._link, links, is_no_outage)

    async def _link(self, links: Sequence[tuple[Order, int]]) -> Sequence[Order]:
        orders = await store.link(self._database, [(order.id, pay_order_id) for order, pay_order_id in links])
        return [orders[order.id] for order, _ in links]

    async def read(self, order_id: int, principal: Principal) -> Order:
        """Return an order to its buyer, or to a caller with ``orders:read``.

        Raises:
            OrderNotFound, NotTheBuyer.
        """
        order = (await store.find(self._database, [order_id])).get(order_id)
        if order is None:
            raise OrderNotFound
        if order.buyer_id != principal.user_id and not principal.has("orders:read"):
            raise NotTheBuyer
        return order

    async def read_many(self, order_ids: Sequence[int]) -> list[Order]:
        """Return those of these orders that exist, by id; the caller has checked the scope."""
        return list((await store.find(self._database, order_ids)).values())

    async def cancel(self, order_id: int, principal: Principal, traceparent: str) -> Order:
        """Cancel an unpaid order of the caller, or any with ``orders:write``; again, the same answer.

        The pay order is closed first: pay alone decides whether the payment came before.

        Raises:
            OrderNotFound, NotTheBuyer, AlreadyPaid, AttemptNotFinal, PayServiceUnavailable.
        """
        order = (await store.find(self._database, [order_id])).get(order_id)
        if order is None:
            raise OrderNotFound
        if order.buyer_id != principal.user_id and not principal.has("orders:write"):
            raise NotTheBuyer
        if order.status is OrderStatus.CANCELLED:
            return order
        if order.status is not OrderStatus.UNPAID:
            raise AlreadyPaid
        await self._pay.close(order.pay_order_id or await self._pay.apply(order, traceparent), traceparent)
        async with self._database.transaction() as tx:
            cancelled = await store.mark_cancelled(tx, order_id)
        return cancelled or await self.read(order_id, Principal(order.buyer_id, frozenset(), ""))
