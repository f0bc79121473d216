"""How everything stands, looked at every two seconds, or four, from the two databases and the broker.

From the databases, because they are the same whichever processes run; a look costs a few milliseconds,
however many payments are made meanwhile.
"""

from collections import deque
from collections.abc import Awaitable, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from paybell.channels.store import DIFFERENCES_SHOWN
from paybell.clock import Clock
from paybell.errors import BrokerUnavailable, Outage, PaybellError
from paybell.messaging.broker import Queues
from paybell.messaging.events import TRADE_CLOSED_QUEUE, TRADE_QUEUE, TRADE_REFUNDED_QUEUE
from paybell.messaging.failures import FailureStore
from paybell.messaging.outbox import Outbox
from paybell.messaging.refused import RefusedEvents
from paybell.operations.samples import QueueSample, RefusedSample, Sample
from paybell.operations.troubles import troubles
from paybell.reconciliation.pay_books import found_last
from paybell.reconciliation.periodic import RECONCILE
from paybell.storage import Database, load_queries
from paybell.storage.server_state import oldest_snapshot_seconds
from paybell.telemetry.percentiles import percentile
from paybell.trade.presence import ForeignConsumers

_SQL = load_queries(__package__)
QUEUES = (TRADE_QUEUE, TRADE_CLOSED_QUEUE, TRADE_REFUNDED_QUEUE)
# Transactions that began before this are over, or as good as: what is counted does not change any more.
_SETTLED_SECONDS = 1.0
# Payments whose way is timed in each look.
_TIMED_MAX = 200
_Found = TypeVar("_Found")
# The first look shows the minute before it; of more payments than these nobody knows when they were.
_FIRST_SECONDS, _FIRST_MAX = 60.0, 100_000

# Some beats of `paybell.pay.settle_times`: what is older is of a process that has ended.
_SETTLES_FRESH_SECONDS = 10.0


class Sampler:
    """Takes samples."""

    def __init__(
        self,
        pay: Database,
        trade: Database,
        broker: Queues | None,
        clock: Clock,
        merchant_id: str,
    ) -> None:
        self._pay = pay
        self._trade = trade
        self._broker = broker
        self._foreign = ForeignConsumers(trade, broker, QUEUES) if broker else None
        self._clock = clock
        self._merchant_id = merchant_id
        self._outbox = Outbox(pay)
        self._refused = RefusedEvents(pay)
        self._failures = FailureStore(trade)
        self._until: datetime | None = None
        # When there were transfers up to which id: what is newer than a moment has a higher id.
        self._newest: deque[tuple[datetime, int]] = deque()
        # Settlements and the seconds they took together of each process, as it last said.
        self._settled: Mapping[int, tuple[int, float]] | None = None

    async def take(self) -> Sample:
        """Look once."""
        until = self._clock.now() - timedelta(seconds=_SETTLED_SECONDS)
        since, self._until = self._until or until - timedelta(seconds=_FIRST_SECONDS), until
        away: list[str] = []
        rate, overdue = await _or_none(self._payments(since, until), "pay_database", away) or (None, None)
        waiting = await _or_none(self._outbox.state(), "pay_database", away) or (None, None)
        snapshot = await _or_none(oldest_snapshot_seconds(self._pay), "pay_database", away)
        failures = await _or_none(self._failures.counts(), "trade_database", away)
        ways = await _or_none(self._ways(since, until), "trade_database", away) or []
        people = await _or_none(self._waits_for_people(), "pay_database", away) or (None,) * 4
        sample = Sample(
            at=until,
            payments_per_second=rate,
            settle_seconds=await _or_none(self._settle_seconds(), "pay_database", away),
            confirmed_seconds_50=percentile(ways, 0.50),
            confirmed_seconds_99=percentile(ways, 0.99),
            outbox_pending=waiting[0],
            outbox_oldest_seconds=waiting[1],
            overdue_seconds=overdue,
            snapshot_seconds=snapshot,
            retries=failures["retry"] if failures else None,
            dead_letters=failures["dead"] if failures else None,
            differences=await _or_none(found_last(self._pay, RECONCILE), "pay_database", away),
            manual_attempts=people[0],
            open_disputes=people[1],
            not_given_back=people[2],
            attempts_differ=people[3],
            queues=await _or_none(self._queues(), "broker", away),
            refused=await _or_none(self._refused_routes(), "pay_database", away),
        )
        return msgspec.structs.replace(sample, troubles=troubles(sample, away))

    async def _payments(self, since: datetime, until: datetime) -> tuple[float | None, float]:
        now, seconds = self._clock.now(), (until - since).total_seconds()
        while len(self._newest) > 1 and self._newest[1][0] <= since:
            self._newest.popleft()
        after = self._newest[0][1] if self._newest else -_FIRST_MAX
        row = await self._pay.fetch_one(_SQL["pay_now"], after, since, until)
        assert row is not None
        if not self._newest:
            self._newest.append((since, row["newest"] - _FIRST_MAX))
        self._newest.append((now, row["newest"]))
        known = seconds > 0 and row["payments"] < _FIRST_MAX
        return row["payments"] / seconds if known else None, max(0.0, row["overdue_seconds"])

    async def _ways(self, since: datetime, until: datetime) -> list[float]:
        """Return for some payments how long it took from being paid to their orders knowing it."""
        rows = await self._trade.fetch(_SQL["heard_lately"], TRADE_QUEUE, since, until, _TIMED_MAX)
        received = {row["number"]: row["received_at"] for row in rows}
        if not received:
            return []
        paid = await self._pay.fetch(_SQL["succeeded_at"], list(received), self._merchant_id)
        return sorted(
            max(0.0, (received[row["biz_order_no"]] - row["succeeded_at"]).total_seconds()) for row in paid
        )

    async def _settle_seconds(self) -> float | None:
        """Return how long a settlement took since the last look, whichever processes made them."""
        rows = await self._pay.fetch(_SQL["settle_times"], _SETTLES_FRESH_SECONDS)
        before, self._settled = (
            self._settled,
            {row["process"]: (row["settlements"], row["seconds"]) for row in rows},
        )
        if before is None:
            return None
        new = [(now, before.get(process, (0, 0.0))) for process, now in self._settled.items()]
        settlements = sum(now[0] - then[0] for now, then in new)
        return sum(now[1] - then[1] for now, then in new) / settlements if settlements else None

    async def _waits_for_people(self) -> tuple[int, int, int, int]:
        row = await self._pay.fetch_one(_SQL["waits_for_people"], self._clock.now() - DIFFERENCES_SHOWN)
        assert row is not None
        return row["manual_attempts"], row["open_disputes"], row["not_given_back"], row["attempts_differ"]

    async def _refused_routes(self) -> list[RefusedSample]:
        routes = await self._refused.routes()
        return [
            RefusedSample(one.exchange, one.routing_key, one.detail, one.events)
            for one in routes
            if one.events
        ]

    async def _queues(self) -> list[QueueSample] | None:
        if self._broker is None or self._foreign is None:
            return None
        states = {name: await self._broker.look_at(name) for name in QUEUES}
        try:
            foreign = await self._foreign.find(states)
        except Outage:  # of the database, which has been named
            foreign = {}
        return [
            QueueSample(name, state.ready, state.consumers, foreign.get(name, 0))
            if state
            else QueueSample(name, 0, -1)
            for name, state in states.items()
        ]


async def _or_none(look: Awaitable[_Found], part: str, away: list[str]) -> _Found | None:
    try:
        return await look
    except (Outage, BrokerUnavailable):
        away.append(part)
    except PaybellError:
        away.append(f"{part}_refuses")
    return None
