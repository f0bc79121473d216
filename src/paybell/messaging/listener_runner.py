"""Runs a listener: batches in, one transaction, settle; what fails is isolated and kept.

The order of steps is the promise. The transaction (inbox, effect, failures) commits first and
the deliveries are settled after it; a crash between the two brings them again, and the inbox
knows them.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

import structlog

from paybell.backoff import exponential
from paybell.clock import Clock
from paybell.errors import Outage
from paybell.messaging import failures
from paybell.messaging.broker import BODY_MAX, Broker, Consumer, Delivery, Topology
from paybell.messaging.events import Unreadable
from paybell.messaging.failures import Due, Failure
from paybell.messaging.listener import Event, Listener, Rejected, Verdicts
from paybell.messaging.patience import outlast
from paybell.storage import Database, Transaction, load_queries
from paybell.telemetry.observers import ListenerObserver

log = structlog.get_logger()
_SQL = load_queries(__package__)
_ATTEMPT = re.compile(r"#([0-9a-f]{12})\.[de]\Z")
RETRY_BATCH_MAX = 100
# Failures of one batch that a log line names.
_NAMED_MAX = 5
# A handler that does not come back fails. The database ends a transaction without statements sooner.
HANDLER_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Item(Generic[Event]):
    """A delivery with its event, and for a failure that is tried again its row and attempts so far."""

    delivery: Delivery
    event: Event
    row_id: int = 0
    attempts: int = 0


class ListenerRunner(Generic[Event]):
    """Feeds one listener from one broker, in one database."""

    def __init__(
        self,
        listener: Listener[Event],
        broker: Broker,
        database: Database,
        clock: Clock,
        observer: ListenerObserver,
        *,
        batch_max: int,
    ) -> None:
        """Apply up to ``batch_max`` deliveries in a transaction."""
        self._listener = listener
        self._broker = broker
        self._database = database
        self._clock = clock
        self._observer = observer
        self._batch_max = batch_max
        self.queue = listener.binding.queue.name
        self.consuming = False

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until stopped; a batch that has begun is applied and settled.

        Raises:
            BrokerUnavailable: the subscription was lost; run again.
            Misconfigured: the topology cannot be declared.
        """
        binding = self._listener.binding
        await self._broker.declare(Topology([binding.exchange], [binding]))
        # Twice the batch: the next one is here when this one commits.
        async with self._broker.consume(binding.queue.name, 2 * self._batch_max) as consumer:
            self.consuming = True
            try:
                while deliveries := await self._receive(consumer, stop):
                    with self._observer.applying(self.queue, _traceparents(deliveries)):
                        await self.apply(deliveries)
                    await consumer.settle(deliveries)
            finally:
                self.consuming = False

    async def _receive(self, consumer: Consumer, stop: asyncio.Event) -> Sequence[Delivery]:
        """Wait for deliveries; none means stop."""
        receiving = asyncio.ensure_future(consumer.receive(self._batch_max))
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait([receiving, stopping], return_when=asyncio.FIRST_COMPLETED)
            return () if stop.is_set() else await receiving
        finally:
            receiving.cancel()
            stopping.cancel()

    async def apply(self, deliveries: Sequence[Delivery]) -> None:
        """Apply or keep every delivery; return when all of them are on disk one way or the other."""
        kept, read = self._read(deliveries)
        items, refused = await self._screen(read)
        kept += [failure for _, failure in refused]
        outcomes = await outlast(self._database, self._clock, self._apply, items)
        for item, outcome in zip(items, outcomes, strict=True):
            if isinstance(outcome, Exception):
                kept.append(self._failed(item, outcome))
        await self._keep(kept)

    async def retry_once(self) -> int:
        """Try failures that are due once more; return how many were taken."""
        now = self._clock.now()
        found = await failures.find_due(self._database, self._listener.name, now, RETRY_BATCH_MAX)
        if not found:
            return 0
        failed, items = await self._read_due(found)
        outcomes = await outlast(self._database, self._clock, self._retry, items)
        for item, outcome in zip(items, outcomes, strict=True):
            if isinstance(outcome, Exception):
                failed.append((item.row_id, self._failed(item, outcome)))
            elif outcome is not None:
                failed.append((item.row_id, outcome))
        async with self._database.transaction() as tx:
            await failures.write(tx, failed)
        self._tell([failure for _, failure in failed])
        return len(found)

    async def _read_due(self, found: Sequence[Due]) -> tuple[list[tuple[int, Failure]], list[_Item[Event]]]:
        """Read and screen what is due; what does not get through comes first, with its row id."""
        failed: list[tuple[int, Failure]] = []
        items: list[_Item[Event]] = []
        for due in found:
            try:
                items.append(self._item(due.delivery, due.row_id, due.attempts))
            except Unreadable as error:
                dead = failures.dead(due.event_id, due.delivery, error.code, str(error))
                failed.append((due.row_id, dead))
        passed, refused = await self._screen(items)
        return failed + [(item.row_id, failure) for item, failure in refused], passed

    async def _retry(self, items: Sequence[_Item[Event]]) -> Sequence[Failure | None]:
        """Apply failures and forget them; return those that the listener rejects now."""
        async with self._database.transaction() as tx:
            held = await failures.lock_due(tx, [item.row_id for item in items])
            mine = [item for item in items if item.row_id in held]
            rejected = {one.event_id: one for one in await self._handle_new(tx, mine)}
            await failures.forget(tx, [item.row_id for item in mine if item.event.event_id not in rejected])
        return [
            _dead(item, rejected[item.event.event_id]) if item.event.event_id in rejected else None
            for item in items
        ]

    async def _ask(self, events: Sequence[Event]) -> Verdicts:
        """Ask the listener's screen; if it breaks, that is what becomes of every event."""
        if self._listener.screen is None or not events:
            return {}
        try:
            return await self._listener.screen(events)
        except Outage:
            raise
        except Exception as error:  # noqa: BLE001 - a screen may fail in any way, as the listener may
            return {event.event_id: error for event in events}

    def _item(self, delivery: Delivery, row_id: int = 0, attempts: int = 0) -> _Item[Event]:
        if delivery.cut:
            raise Unreadable(f"the body is longer than {BODY_MAX} bytes")
        try:
            event = self._listener.event_type.from_delivery(delivery)
            storable = failures.is_event_id(event.event_id)
        except Unreadable:
            raise
        except Exception as error:  # whatever it is, the same bytes would bring it again forever
            raise Unreadable(f"{type(error).__name__}: {error}") from error
        if not storable:
            raise Unreadable("the event id is not 1 to 255 characters of text")
        return _Item(delivery, event, row_id, attempts)

    def _read(self, deliveries: Sequence[Delivery]) -> tuple[list[Failure], list[_Item[Event]]]:
        kept: list[Failure] = []
        items: list[_Item[Event]] = []
        for delivery in deliveries:
            try:
                items.append(self._item(delivery))
            except Unreadable as error:
                kept.append(failures.dead(failures.identity(delivery), delivery, error.code, str(error)))
        return kept, items

    async def _screen(
        self, items: Sequence[_Item[Event]]
    ) -> tuple[list[_Item[Event]], list[tuple[_Item[Event], Failure]]]:
        """Return what may be applied, and what not with its failure."""
        verdicts = await self._ask([item.event for item in items])
        passed: list[_Item[Event]] = []
        refused: list[tuple[_Item[Event], Failure]] = []
        for item in items:
            verdict = verdicts.get(item.event.event_id)
            if verdict is None:
                passed.append(item)
            elif isinstance(verdict, Rejected):
                refused.append((item, _dead(item, verdict)))
            else:
                refused.append((item, self._failed(item, verdict)))
        return passed, refused

    async def _apply(self, items: Sequence[_Item[Event]]) -> Sequence[None]:
        async with self._database.transaction() as tx:
            rejected = await self._handle_new(tx, items)
            by_id = {item.event.event_id: item for item in items}
            dead = [_dead(by_id[one.event_id], one) for one in rejected]
            await failures.keep(tx, self._listener.name, dead)
        self._tell(dead)
        return [None] * len(items)

    async def _handle_new(self, tx: Transaction, items: Sequence[_Item[Event]]) -> list[Rejected]:
        """Apply what the inbox does not know, and take out of it again what the listener rejects."""
        name = self._listener.name
        events: Mapping[str, Event] = {item.event.event_id: item.event for item in items}
        attempts = {item.event.event_id: _attempt(item.delivery) for item in items}
        rows = await tx.fetch(_SQL["remember_events"], name, list(events), tx.now, list(attempts.values()))
        new = {row["event_id"] for row in rows}
        fresh = [event for event_id, event in events.items() if event_id in new]
        async with asyncio.timeout(HANDLER_TIMEOUT_SECONDS):
            rejected = list(await self._listener.handle(fresh, tx) or ()) if fresh else []
        if rejected:
            await tx.execute(_SQL["forget_events"], name, [one.event_id for one in rejected])
        applied, duplicates = len(fresh) - len(rejected), len(items) - len(fresh)
        tx.after_commit(lambda: self._observer.applied(applied, duplicates))
        return rejected

    async def _keep(self, kept: Sequence[Failure]) -> None:
        waits = exponential(first=0.1, most=2.0)
        while kept:
            try:
                async with self._database.transaction() as tx:
                    await failures.keep(tx, self._listener.name, kept)
            except Outage:
                await self._clock.sleep(next(waits))
            else:
                break
        self._tell(kept)

    def _tell(self, kept: Sequence[Failure]) -> None:
        """Count failures that are on disk; name the first few in the log, with their traces."""
        for failure in kept:
            self._observer.failed(dead=failure.due_at is None)
        if kept:
            some = [failure.summary() for failure in kept[:_NAMED_MAX]]
            log.warning("deliveries_failed", listener=self._listener.name, count=len(kept), some=some)

    def _failed(self, item: _Item[Event], error: Exception) -> Failure:
        event_id, now = item.event.event_id, self._clock.now()
        return failures.failed(event_id, item.delivery, error, item.attempts + 1, now)


def _attempt(delivery: Delivery) -> str | None:
    """Return which publishing a delivery of our relay comes from (`paybell.messaging.relay.Wire`)."""
    match = _ATTEMPT.search(delivery.message_id)
    return match and match[1]


def _traceparents(deliveries: Sequence[Delivery]) -> list[str]:
    given = (delivery.headers.get("traceparent") for delivery in deliveries)
    return [text for text in given if isinstance(text, str)]


def _dead(item: _Item[Event], rejected: Rejected) -> Failure:
    return failures.dead(item.event.event_id, item.delivery, rejected.reason, rejected.error)
