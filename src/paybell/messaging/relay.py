"""The relay: takes events out of the outbox and does not let go until the broker confirmed them.

Any number may run. A relay that dies loses its lease and another one takes its events over; a
confirm that does not come means unknown, so the event is published again and the inbox of the
listener absorbs the double. An event of which the broker refuses a message is set aside, so that it
holds up no other, and is tried again by `Retrier`.
"""

from collections.abc import Sequence
from uuid import UUID, uuid4

import structlog

from paybell.clock import Clock
from paybell.errors import BrokerUnavailable
from paybell.messaging.broker import Route
from paybell.messaging.events import OutboxEvent
from paybell.messaging.handover import HANDED_DEADLINE_SECONDS, Handover
from paybell.messaging.outbox import Outbox, Publication, attempt_of
from paybell.messaging.publishing import Aside, Publishing, Refusal
from paybell.messaging.refused import RefusedEvents
from paybell.messaging.wire import Wire
from paybell.telemetry.observers import RelayObserver

log = structlog.get_logger()
# While a process publishes what it writes itself, it looks this often for what others have written.
CLAIM_SECONDS = 0.25


class Relay:
    """Publishes the outbox, batch by batch."""

    def __init__(
        self,
        outbox: Outbox,
        refused: RefusedEvents,
        publishing: Publishing,
        wire: Wire,
        observer: RelayObserver,
        *,
        handover: Handover,
        clock: Clock,
        batch_max: int,
        lease_seconds: float,
    ) -> None:
        """Hold at most ``batch_max`` events for ``lease_seconds``, at least twice the publish deadline.

        ``handover``: where writers of this process put their events, if they do.
        """
        self._outbox = outbox
        self._handover = handover
        self._handed_at = self._claimed_at = -CLAIM_SECONDS
        self._backlog = False
        self._refused = refused
        self._publishing = publishing
        self._wire = wire
        self._observer = observer
        self._clock = clock
        self._batch_max = batch_max
        self._lease_seconds = lease_seconds
        self._closed: dict[Route, Refusal] = {}

    async def run_once(self) -> int:
        """Publish one batch; return how many events were taken.

        Raises:
            BrokerUnavailable: nothing was published, the events wait for the next one.
            DatabaseUnavailable: what is held comes free when its lease ends.
        """
        handed = await self._publish_handed()
        return handed + (await self._claim() if self._may_claim() else 0)

    async def publish_own(self) -> int:
        """Publish one batch of what this process has written; return how many events there were.

        A broker that is away is no concern of who writes: its events wait for whoever claims them.

        Raises:
            DatabaseUnavailable: what is held comes free when its lease ends.
        """
        try:
            return await self._publish_handed()
        except BrokerUnavailable:
            return 0

    async def _publish_handed(self) -> int:
        try:
            await self._publishing.prepare()
        except BrokerUnavailable:
            self._handover.shut()
            raise
        if self._closed:
            there = {(one.exchange, one.routing_key) for one in await self._refused.routes() if one.events}
            self._closed = {route: why for route, why in self._closed.items() if route in there}
        self._handover.open()
        handed = self._handover.take(self._batch_max)
        if handed:
            self._handed_at = self._clock.monotonic()
            await self._publish(handed, self._handover.token, HANDED_DEADLINE_SECONDS)
        return len(handed)

    def _may_claim(self) -> bool:
        """Say whether to look for events of others: while our own come by themselves, only now and then."""
        due_at = min(self._handed_at, self._claimed_at) + CLAIM_SECONDS
        return self._backlog or self._clock.monotonic() >= due_at

    async def _claim(self) -> int:
        self._claimed_at = self._clock.monotonic()
        token = uuid4()
        events = await self._outbox.claim(token, self._lease_seconds, self._batch_max)
        self._backlog = bool(events)
        if events:
            await self._publish(events, token)
        return len(events)

    async def _publish(
        self, events: Sequence[OutboxEvent], token: UUID, shorter_seconds: float | None = None
    ) -> None:
        ids, attempt = [event.id for event in events], attempt_of(uuid4())
        batches = [self._wire.messages(event, attempt) for event in events]
        published_at = self._clock.now()
        try:
            outcome = await self._publishing.send(
                ids, batches, [event.traceparent for event in events], self._closed, shorter_seconds
            )
        except BrokerUnavailable:
            self._handover.shut()
            await self._outbox.release(ids, token, 0)
            raise
        publication = Publication(attempt, published_at, self._clock.now())
        removed = await self._outbox.finish(outcome.done, token, publication)
        await self._outbox.release(outcome.unknown, token, 0)
        if outcome.refused:
            await self._set_aside(outcome.refused, token, publication)
        if outcome.unknown:
            self._handover.shut()
        self._observer.leases_lost(len(outcome.done) - removed)

    async def _set_aside(self, refused: Sequence[Aside], token: UUID, publication: Publication) -> None:
        for refusal in {one.refusal.route: one.refusal for one in refused}.values():
            here = [one for one in refused if one.refusal.route == refusal.route]
            if await self._refused.set_aside(refusal, here, token, publication):
                report(refusal)
            if refusal.closes_route:
                self._closed[refusal.route] = refusal


class Retrier:
    """Tries again what was set aside: of each route one event, and ever more while they are taken."""

    def __init__(
        self,
        refused: RefusedEvents,
        publishing: Publishing,
        wire: Wire,
        *,
        clock: Clock,
        batch_max: int,
        lease_seconds: float,
    ) -> None:
        """Hold at most ``batch_max`` events for ``lease_seconds``, at least twice the publish deadline."""
        self._refused = refused
        self._publishing = publishing
        self._wire = wire
        self._clock = clock
        self._batch_max = batch_max
        self._lease_seconds = lease_seconds

    async def run_once(self) -> int:
        """Try one route that is due; return how many events were published.

        What is confirmed of an event is not published again.

        Raises:
            BrokerUnavailable, DatabaseUnavailable: it is tried again when the lease ends.
        """
        await self._publishing.prepare()
        token = uuid4()
        due = await self._refused.take_due_route(token, self._lease_seconds)
        if due is None:
            return 0
        waiting = await self._refused.events(due.route, min(due.limit, self._batch_max))
        batches = [
            [
                one
                for one in self._wire.messages(it.event, attempt_of(token))
                if one.exchange not in it.confirmed
            ]
            for it in waiting
        ]
        published_at = self._clock.now()
        outcome = await self._publishing.send(
            [it.event.id for it in waiting], batches, [it.event.traceparent for it in waiting], {}
        )
        publication = Publication(attempt_of(token), published_at, self._clock.now())
        for refusal in await self._refused.record(due, outcome, token, publication):
            report(refusal)
        return len(waiting)


def report(refusal: Refusal) -> None:
    """Name a route that has begun to refuse, once for all its messages and tries."""
    log.warning(
        "messages_refused",
        exchange=refusal.route[0],
        routing_key=refusal.route[1],
        reason=refusal.reason,
        detail=refusal.detail,
    )
