"""Asks pay about orders that no event has reached: the net under the messages.

Rows with a due time, so that any number of processes share them and none is forgotten.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from paybell.ids import IDS_MAX
from paybell.messaging.events import PayOrderData
from paybell.storage import Database
from paybell.trade import store
from paybell.trade.event_listener import apply_states
from paybell.trade.model import Order, OrderStatus
from paybell.trade.pay_client import PayClient

# After an order was made, in seconds; then at its deadline, and after it until pay has an answer.
CHECK_SECONDS = (10.0, 60.0, 600.0)
# How long pay may take to close what has fallen due, and the wait between later questions.
DEADLINE_GRACE_SECONDS, LATER_SECONDS = 5.0, 60.0
# Whoever took a check up and died has it taken over after this.
LEASE_SECONDS = 30.0


def next_check(order: Order, asked: int, pay_order: PayOrderData | None, now: datetime) -> datetime | None:
    """Return when pay is asked about an unpaid order again, None if never.

    Args:
        order: of which no final state is known.
        asked: how often pay has answered, this time included.
        pay_order: its answer; None: it knows of no such pay order.
        now: the time.
    """
    if asked < len(CHECK_SECONDS):
        return max(now, order.created_at + timedelta(seconds=CHECK_SECONDS[asked]))
    if pay_order is None:  # nobody can pay what nobody has asked for
        return None
    deadline = pay_order.expires_at + timedelta(seconds=DEADLINE_GRACE_SECONDS)
    return deadline if now < deadline else now + timedelta(seconds=LATER_SECONDS)


class OrderChecker:
    """Takes up checks that are due; any number may run."""

    def __init__(self, database: Database, pay: PayClient) -> None:
        self._database = database
        self._pay = pay

    async def run_once(self) -> int:
        """Ask about one bounded batch of orders; return how many checks were due.

        Raises:
            PayServiceUnavailable: nobody knows; the same checks are due again when their lease is over.
        """
        due = await store.take_due_checks(self._database, LEASE_SECONDS, IDS_MAX)
        if not due:
            return 0
        async with self._database.transaction() as tx:
            found = await store.find(tx, list(due))
            unpaid = {number: due[number] for number in due if found[number].status is OrderStatus.UNPAID}
            await store.drop_checks(tx, list(due.keys() - unpaid.keys()))
        if unpaid:
            await self._learn(unpaid, await self._pay.states_of(unpaid))
        return len(due)

    async def _learn(self, asked: Mapping[int, int], states: Mapping[int, PayOrderData]) -> None:
        async with self._database.transaction() as tx:
            await apply_states(tx, states.values())
            plans = {
                number: next_check(order, asked[number] + 1, states.get(number), tx.now)
                for number, order in (await store.find(tx, list(asked))).items()
                if order.status is OrderStatus.UNPAID
            }
            later = [(number, asked[number] + 1, at) for number, at in plans.items() if at is not None]
            await store.plan_checks(tx, later)
            await store.drop_checks(tx, list(asked.keys() - {number for number, _, _ in later}))
