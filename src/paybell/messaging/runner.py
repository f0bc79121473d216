"""Runs a listener: batches in, one transaction, settle; what fails is isolated and kept.

The order of steps is the promise. The transaction (inbox, effect, failures) commits first and
the deliveries are settled after it; a crash between the two brings them again, and the inbox
knows them.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Generic

from paybell.backoff import exponential
from paybell.batching import do_or_split
from paybell.clock import Clock
from paybell.errors import Outage
from paybell.messaging import failures
from paybell.messaging.broker import BODY_MAX, Broker, Consumer, Delivery, Topology
from paybell.messaging.events import Unreadable
from paybell.messaging.failures import Due, Failure
from paybell.messaging.listening import Event, Listener, Rejected, Verdicts
from paybell.storage import Database, Transaction, load_queries

_SQL = load_queries(__package__)
RETRY_BATCH_MAX = 100


class ListenerObserver:
    """Watches a listener; this one looks away."""

    def applied(self, events: int, duplicates: int) -> None:
        """Hear of a committed batch: new events, and ones known already."""

    def failed(self, failure: Failure) -> None:
        """Hear of one delivery that could not be applied."""


@dataclass(frozen=True, slots=True)
class _Item(Generic[Event]):
    delivery: Delivery
    event: Event


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
        kept, items = self._read(deliveries)
        items = await self._screen(items, kept)
        waits = exponential(first=0.1, most=2.0)
        while items:
            outcomes = await do_or_split(self._transaction, items)
            again: list[_Item[Event]] = []
            for item, outcome in zip(items, outcomes, strict=True):
                if isinstance(outcome, Outage):
                    again.append(item)  # an outage of ours uses up nobody's attempt
                elif isinstance(outcome, Exception):
                    kept.append(self._failed(item, outcome, 1))
            items = again
            if items:
                await self._clock.sleep(next(waits))
        await self._keep(kept)

    async def retry_once(self) -> int:
        """Try failures that are due once more; return how many were taken."""
        now = self._clock.now()
        found = await failures.find_due(self._database, self._listener.name, now, RETRY_BATCH_MAX)
        if not found:
            return 0
        verdicts = await self._verdicts(found)
        async with self._database.transaction() as tx:
            due = await failures.lock_due(tx, found)
            tried = [(one.row_id, await self._retry(tx, one, verdicts)) for one in due]
            again = [(row_id, failure) for row_id, failure in tried if failure]
            failing = {row_id for row_id, _ in again}
            await failures.forget(tx, [one.row_id for one in due if one.row_id not in failing])
            await failures.write(tx, again)
        for _, failure in again:
            self._observer.failed(failure)
        return len(due)

    async def _retry(self, tx: Transaction, due: Due, verdicts: Verdicts) -> Failure | None:
        try:
            item = self._item(due.delivery)
            verdict = verdicts.get(item.event.event_id)
            if verdict is not None:
                raise verdict if isinstance(verdict, Exception) else _Rejection(verdict)
            async with tx.savepoint():
                if rejected := await self._handle_new(tx, [item]):
                    raise _Rejection(rejected[0])
        except _Rejection as rejection:
            return failures.dead(
                due.event_id, due.delivery, rejection.rejected.reason, rejection.rejected.error
            )
        except Unreadable as error:
            return failures.dead(due.event_id, due.delivery, error.code, str(error))
        except Outage:
            raise
        except Exception as error:  # noqa: BLE001 - a listener may fail in any way; it is kept with its reason
            return failures.failed(due.event_id, due.delivery, error, due.attempts + 1, self._clock.now())
        return None

    async def _verdicts(self, found: Sequence[Due]) -> Verdicts:
        events = []
        for due in found:
            with suppress(Unreadable):
                events.append(self._item(due.delivery).event)
        return await self._ask(events)

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

    def _item(self, delivery: Delivery) -> _Item[Event]:
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
        return _Item(delivery, event)

    def _read(self, deliveries: Sequence[Delivery]) -> tuple[list[Failure], list[_Item[Event]]]:
        kept: list[Failure] = []
        items: list[_Item[Event]] = []
        for delivery in deliveries:
            try:
                items.append(self._item(delivery))
            except Unreadable as error:
                kept.append(failures.dead(_identity(delivery), delivery, error.code, str(error)))
        return kept, items

    async def _screen(self, items: list[_Item[Event]], kept: list[Failure]) -> list[_Item[Event]]:
        verdicts = await self._ask([item.event for item in items])
        passed = []
        for item in items:
            verdict = verdicts.get(item.event.event_id)
            if verdict is None:
                passed.append(item)
            elif isinstance(verdict, Rejected):
                kept.append(failures.dead(item.event.event_id, item.delivery, verdict.reason, verdict.error))
            else:
                kept.append(self._failed(item, verdict, 1))
        return passed

    async def _transaction(self, items: Sequence[_Item[Event]]) -> Sequence[None]:
        async with self._database.transaction() as tx:
            rejected = await self._handle_new(tx, items)
            by_id = {item.event.event_id: item.delivery for item in items}
            dead = [failures.dead(r.event_id, by_id[r.event_id], r.reason, r.error) for r in rejected]
            await failures.keep(tx, self._listener.name, dead)
        for failure in dead:
            self._observer.failed(failure)
        return [None] * len(items)

    async def _handle_new(self, tx: Transaction, items: Sequence[_Item[Event]]) -> list[Rejected]:
        """Apply what the inbox does not know, and take out of it again what the listener rejects."""
        name = self._listener.name
        events: Mapping[str, Event] = {item.event.event_id: item.event for item in items}
        rows = await tx.fetch(_SQL["remember_events"], name, list(events), tx.now)
        new = {row["event_id"] for row in rows}
        fresh = [event for event_id, event in events.items() if event_id in new]
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
        for failure in kept:
            self._observer.failed(failure)

    def _failed(self, item: _Item[Event], error: Exception, attempts: int) -> Failure:
        now: datetime = self._clock.now()
        return failures.failed(item.event.event_id, item.delivery, error, attempts, now)


class _Rejection(Exception):
    """Carries a listener's verdict out of the savepoint it undoes."""

    def __init__(self, rejected: Rejected) -> None:
        super().__init__(rejected.reason)
        self.rejected = rejected


def _identity(delivery: Delivery) -> str:
    """Name an unreadable delivery by what it is, so that a redelivery is not a second dead letter."""
    digest = hashlib.sha256(delivery.body)
    digest.update(repr((delivery.message_id, delivery.content_type)).encode("utf-8", "replace"))
    return f"sha256:{digest.hexdigest()}"
