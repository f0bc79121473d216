"""Tells whoever watches an order that it has changed: at once when this process did it, else by polling."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from typing import TypeAlias

from paybell.clock import Clock
from paybell.storage import Database
from paybell.trade import store
from paybell.trade.model import Order, OrderStatus

# How often all watched orders are read, in one query for the whole process: an order may be marked paid
# by a listener elsewhere.
POLL_SECONDS = 0.25

# Called after a commit with the orders it has changed.
Changed: TypeAlias = Callable[[Collection[int]], object]


def nobody(order_ids: Collection[int]) -> None:
    """Do nothing."""
    del order_ids


class OrderWatch:
    """Follows orders for those who wait for them; ``look`` is the step of a loop that ``wake`` hurries."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._waiting: dict[int, dict[asyncio.Future[Order], OrderStatus]] = {}
        self._touched: set[int] = set()
        self._poll_at = 0.0
        self.wake = asyncio.Event()

    def changed(self, order_ids: Collection[int]) -> None:
        """Note that a transaction which changed these orders was committed."""
        if touched := self._waiting.keys() & order_ids:
            self._touched |= touched
            self.wake.set()

    async def follow(self, order: Order) -> AsyncGenerator[Order, None]:
        """Yield an order as it is and when it has changed, until it can change no more."""
        yield order
        while order.status is OrderStatus.UNPAID:
            order = await self._change(order)
            yield order

    async def _change(self, order: Order) -> Order:
        waiting = self._waiting.setdefault(order.id, {})
        change: asyncio.Future[Order] = asyncio.get_running_loop().create_future()
        waiting[change] = order.status
        self.changed([order.id])  # it may have between being read and being watched
        try:
            return await change
        finally:
            del waiting[change]
            if not waiting:
                self._waiting.pop(order.id, None)

    async def look(self) -> int:
        """Read the orders that were touched, and now and then all that are watched."""
        now = self._clock.monotonic()
        wanted = self._touched & self._waiting.keys()
        if now >= self._poll_at:
            wanted = set(self._waiting)
            self._poll_at = now + POLL_SECONDS
        self._touched = set()
        if wanted:
            for order in (await store.find(self._database, list(wanted))).values():
                self._wake_followers(order)
        return 0

    def _wake_followers(self, order: Order) -> None:
        for change, known in self._waiting.get(order.id, {}).items():
            if order.status is not known and not change.done():
                change.set_result(order)
