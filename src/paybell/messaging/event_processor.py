"""The way of an event through a listener: read, decided on, applied in one transaction, or kept.

What is wrong with one event is isolated to it at each step; an outage of the database is waited out.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Generic, TypeVar

import structlog

from paybell.batching import bisect
from paybell.clock import Clock
from paybell.errors import Unavailable, with_traceback
from paybell.messaging import failure_rows
from paybell.messaging.arrivals import Arrival, Failure, dead, failed, postponed
from paybell.messaging.event_reader import EventReader, Incoming
from paybell.messaging.listener import Event, Listener, New, Rejected, Verdict
from paybell.messaging.outages import HandlerTooSlow, OutageRetry
from paybell.storage import Database, Transaction, load_queries
from paybell.telemetry.observers import ListenerObserver

log = structlog.get_logger()
_SQL = load_queries(__package__)
# Failures of one batch that a log line names.
_NAMED_MAX = 5
# What a handler has for a batch. The database ends a transaction without statements after 4 s.
HANDLER_TIMEOUT_SECONDS = 3.0
# A screen holds no transaction open; it may ask over a network.
SCREEN_TIMEOUT_SECONDS = 30.0
# How often a transaction is interrupted while the database answers (a failover, somebody's lock) before its
# events are suspected, and once more so often before a single one is to blame.
INTERRUPTIONS_MAX = 3

Result = TypeVar("Result")


class EventProcessor(Generic[Event]):
    """Brings arrivals on disk: their effect, or their failure."""

    def __init__(
        self,
        listener: Listener[Event],
        database: Database,
        clock: Clock,
        observer: ListenerObserver,
        *,
        outage_retry: OutageRetry,
        reader: EventReader[Event],
    ) -> None:
        """Do it for one listener, in its database."""
        self._listener = listener
        self._database = database
        self._clock = clock
        self._observer = observer
        self._outage_retry = outage_retry
        self._reader = reader

    async def process(self, arrivals: Sequence[Arrival]) -> None:
        """Read, decide, apply in one transaction, keep what failed.

        Whatever it raises keeps it from doing so, and nothing is decided on: do it again.
        """
        incoming, failing, ignored = self._reader.read(arrivals)
        passed, refused = await self._decide(incoming)
        outcomes = await self._isolate(self._apply, passed, _whatever)
        failing += refused
        for one, outcome in zip(passed, outcomes, strict=True):
            if isinstance(outcome, Exception):
                failing.append(failed(one.arrival, one.event_id, outcome, self._clock.now()))
        await self.keep(failing, ignored)

    async def _decide(
        self, incoming: Sequence[Incoming[Event]]
    ) -> tuple[list[Incoming[Event]], list[Failure]]:
        """Ask the listener's screen; return what may be applied, and what not with its failure."""
        if self._listener.screen is None or not incoming:
            return list(incoming), []
        verdicts = await self._isolate(self._screen, incoming, _is_not_away)
        passed = [one for one, verdict in zip(incoming, verdicts, strict=True) if verdict is None]
        refused = [
            self._refused(one, verdict)
            for one, verdict in zip(incoming, verdicts, strict=True)
            if verdict is not None
        ]
        return passed, refused

    async def _screen(self, incoming: Sequence[Incoming[Event]]) -> Sequence[Verdict | None]:
        assert self._listener.screen is not None
        async with asyncio.timeout(SCREEN_TIMEOUT_SECONDS):
            verdicts = await self._listener.screen([one.event for one in incoming])
        return [verdicts.get(one.event_id) for one in incoming]

    def _refused(self, one: Incoming[Event], verdict: Verdict) -> Failure:
        if isinstance(verdict, Rejected):
            return dead(one.arrival, one.event_id, verdict.reason, verdict.error)
        if isinstance(verdict, Unavailable):
            return postponed(one.arrival, one.event_id, verdict, self._clock.now())
        return failed(one.arrival, one.event_id, verdict, self._clock.now())

    async def _isolate(
        self,
        work: Callable[[Sequence[Incoming[Event]]], Awaitable[Sequence[Result]]],
        incoming: Sequence[Incoming[Event]],
        suspects: Callable[[Exception], bool],
    ) -> list[Result | Exception]:
        """Do a batch through outages; whatever else it raises is isolated to the event that causes it."""

        async def attempt(part: Sequence[Incoming[Event]]) -> Sequence[Result]:
            searching = 1 < len(part) < len(incoming)
            return await self._outage_retry.through_outages(
                partial(work, part), 1 if searching else INTERRUPTIONS_MAX
            )

        return await bisect(attempt, incoming, suspects)

    async def _apply(self, incoming: Sequence[Incoming[Event]]) -> Sequence[None]:
        """Apply a batch, or nothing of it: what is known is dropped, what is rejected is kept as dead."""
        if await self._is_applied_at_once(incoming):
            return [None] * len(incoming)
        async with self._database.transaction() as tx:
            held = await failure_rows.lock(tx, [one.arrival.row_id for one in incoming if one.arrival.row_id])
            mine = [one for one in incoming if not one.arrival.row_id or one.arrival.row_id in held]
            rejected = await self._handle_new(tx, mine)
            dead_letters = [
                self._refused(one, rejected[one.event_id]) for one in mine if one.event_id in rejected
            ]
            await failure_rows.keep(tx, self._listener.name, dead_letters)
            done = [one.arrival.row_id for one in mine if one.event_id not in rejected]
            await failure_rows.forget(tx, [row_id for row_id in done if row_id])
            tx.after_commit(partial(self._report, dead_letters))
        return [None] * len(incoming)

    async def _is_applied_at_once(self, incoming: Sequence[Incoming[Event]]) -> bool:
        if not incoming or self._listener.at_once is None or any(one.arrival.row_id for one in incoming):
            return False
        new = {one.event_id: New(one.event, one.attempt) for one in incoming}
        if not await self._listener.at_once(list(new.values()), self._database):
            return False
        self._observer.applied(len(new), len(incoming) - len(new))
        return True

    async def _handle_new(
        self, tx: Transaction, incoming: Sequence[Incoming[Event]]
    ) -> Mapping[str, Rejected]:
        """Apply what the inbox does not know, and take out of it again what the listener rejects."""
        name = self._listener.name
        events: Mapping[str, Event] = {one.event_id: one.event for one in incoming}
        attempts = {one.event_id: one.attempt for one in incoming}
        rows = await tx.fetch(_SQL["remember_events"], name, list(events), tx.now, list(attempts.values()))
        new = {row["event_id"] for row in rows}
        fresh = [event for event_id, event in events.items() if event_id in new]
        rejected = {one.event_id: one for one in await self._handle(fresh, tx)} if fresh else {}
        if rejected.keys() - new:
            raise ValueError(f"{name} has rejected events it was not given")
        if rejected:
            await tx.execute(_SQL["forget_events"], name, list(rejected))
        applied, duplicates = len(fresh) - len(rejected), len(incoming) - len(fresh)
        tx.after_commit(lambda: self._observer.applied(applied, duplicates))
        return rejected

    async def _handle(self, events: Sequence[Event], tx: Transaction) -> Sequence[Rejected]:
        try:
            async with asyncio.timeout(HANDLER_TIMEOUT_SECONDS) as limit:
                return list(await self._listener.handle(events, tx) or ())
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise HandlerTooSlow(
                f"The handler did not return within the {HANDLER_TIMEOUT_SECONDS:g} s it has, "
                f"given {len(events)} events."
            ) from error

    async def keep(self, failing: Sequence[Failure], ignored: Sequence[Arrival] = ()) -> None:
        """Write down failures, and forget those that turn out to be none of the listener's business."""
        if failing or any(arrival.row_id for arrival in ignored):
            async with self._database.transaction() as tx:
                await failure_rows.keep(tx, self._listener.name, failing)
                await failure_rows.forget(tx, [arrival.row_id for arrival in ignored if arrival.row_id])
        self._observer.ignored(len(ignored))
        self._report(failing)

    def _report(self, failing: Sequence[Failure]) -> None:
        """Count failures that are on disk; name the first few in the log, one with its traceback."""
        for failure in failing:
            self._observer.failed(dead=failure.due_at is None)
        if failing:
            some = [failure.summary() for failure in failing[:_NAMED_MAX]]
            trace = next((failure.cause for failure in failing if failure.cause), None)
            log.warning(
                "deliveries_failed",
                listener=self._listener.name,
                count=len(failing),
                some=some,
                **with_traceback(trace),
            )


def _whatever(error: Exception) -> bool:
    """Suspect the events of any error of the handler's: outages have been waited for."""
    del error
    return True


def _is_not_away(error: Exception) -> bool:
    """Suspect no event when whom the screen asks is away: that is everybody's trouble."""
    return not isinstance(error, Unavailable)
