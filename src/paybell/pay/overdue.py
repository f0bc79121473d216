"""Closes pay orders whose deadline has passed, and tells the world.

Nothing depends on it being on time: the paying transaction checks the deadline itself, under the same
row lock. What it adds is the status and the event.
"""

from paybell.ids import new_traceparent
from paybell.messaging.events import PAY_CLOSED
from paybell.messaging.outbox import Outbox
from paybell.pay import store
from paybell.pay.status import OPEN
from paybell.storage import Database

# A few milliseconds of row locks on orders nobody can pay any more.
CLOSE_MAX = 500


class OverdueCloser:
    """Takes up deadlines; any number may run."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox

    async def run_once(self) -> int:
        """Close one bounded batch; return how many deadlines had passed."""
        async with self._database.transaction() as tx:
            due = await store.take_due(tx, CLOSE_MAX)
            orders = await store.lock(tx, due) if due else {}
            closed = [order.close(tx.now) for order in orders.values() if order.status in OPEN]
            await store.mark_closed(tx, closed)
            trace = new_traceparent()
            await self._outbox.append(tx, [order.event(PAY_CLOSED, tx.now, trace) for order in closed])
        return len(due)
