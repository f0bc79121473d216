"""The relay: takes events out of the outbox and does not let go until the broker confirmed them.

Any number may run. A relay that dies loses its lease and another one takes its events over; a
confirm that does not come means unknown, so the event is published again and the inbox of the
listener absorbs the double.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

import msgspec

from paybell.clock import Clock, rfc3339
from paybell.errors import BrokerUnavailable
from paybell.messaging.broker import Broker, Confirm, Message, Topology
from paybell.messaging.events import (
    CLOUDEVENTS_JSON,
    EVENT_SOURCE,
    MERCHANT_HEADER,
    PAY_DIRECT,
    PAY_EVENTS,
    PAY_SUCCESS,
    SIGNATURE_HEADER,
)
from paybell.messaging.outbox import Outbox, OutboxEvent, attempt_of
from paybell.messaging.signatures import EventKeys, PaidOrder
from paybell.telemetry.observers import RelayObserver

# A returned event waits for a queue that somebody has unbound; asking each second is enough.
RETURNED_WAIT_SECONDS = 1.0


class _Paid(msgspec.Struct):
    data: PaidOrder


_read_paid = msgspec.json.Decoder(_Paid).decode


class Wire:
    """Turns one event into its messages: the typed one, and the article's bare number beside it."""

    def __init__(self, keys: EventKeys, content_type: str) -> None:
        """Sign both, and send bare numbers under this content type."""
        self._keys = keys
        self._content_type = content_type

    def messages(self, event: OutboxEvent, attempt: str) -> list[Message]:
        """Return the messages of an event; ``attempt`` makes their ids unique."""
        typed = Message(
            exchange=PAY_EVENTS.name,
            routing_key=event.type,
            body=event.body,
            message_id=f"{event.event_id}#{attempt}.e",
            content_type=CLOUDEVENTS_JSON,
            type=event.type,
            timestamp=event.occurred_at,
            headers={
                "traceparent": event.traceparent,
                SIGNATURE_HEADER: self._keys.sign_event(event.body),
            },
            must_route=False,
        )
        if event.type != PAY_SUCCESS:
            return [typed]
        paid = _read_paid(event.body).data
        bare = Message(
            exchange=PAY_DIRECT.name,
            routing_key=PAY_SUCCESS,
            body=event.subject.encode(),
            message_id=f"{event.event_id}#{attempt}.d",
            content_type=self._content_type,
            type=event.type,
            timestamp=event.occurred_at,
            headers={
                "__TypeId__": "java.lang.Long",
                "cloudEvents:id": event.event_id,
                "cloudEvents:source": EVENT_SOURCE,
                "cloudEvents:type": event.type,
                "cloudEvents:time": rfc3339(event.occurred_at),
                "cloudEvents:specversion": "1.0",
                "traceparent": event.traceparent,
                MERCHANT_HEADER: paid.merchant_id,
                SIGNATURE_HEADER: self._keys.sign(paid),
            },
        )
        return [bare, typed]


class Relay:
    """Publishes the outbox, batch by batch."""

    def __init__(
        self,
        outbox: Outbox,
        broker: Broker,
        topology: Topology,
        wire: Wire,
        observer: RelayObserver,
        *,
        clock: Clock,
        batch_max: int,
        lease_seconds: float,
        deadline_seconds: float,
    ) -> None:
        """Hold at most ``batch_max`` events for ``lease_seconds``, at least twice the publish deadline."""
        assert lease_seconds >= 2 * deadline_seconds
        self._outbox = outbox
        self._broker = broker
        self._topology = topology
        self._wire = wire
        self._observer = observer
        self._clock = clock
        self._batch_max = batch_max
        self._lease_seconds = lease_seconds
        self._deadline_seconds = deadline_seconds
        self._declared = False

    async def run_once(self) -> int:
        """Publish one batch; return how many events were taken.

        Raises:
            BrokerUnavailable: nothing was published, the events wait for the next one.
            DatabaseUnavailable: what is held comes free when its lease ends.
        """
        if not self._declared:
            await self._broker.declare(self._topology)
            self._declared = True
        if not self._broker.connected:
            self._declared = False
            raise BrokerUnavailable
        token = uuid4()
        events = await self._outbox.claim(token, self._lease_seconds, self._batch_max)
        if events:
            await self._publish(events, token)
        return len(events)

    async def _publish(self, events: Sequence[OutboxEvent], token: UUID) -> None:
        batches = [self._wire.messages(event, attempt_of(token)) for event in events]
        flat = [message for messages in batches for message in messages]
        published_at = self._clock.now()
        try:
            with self._observer.publishing([event.traceparent for event in events], len(flat)):
                confirms = await self._broker.publish(flat, self._deadline_seconds)
        except BrokerUnavailable:
            self._declared = False
            await self._outbox.release([event.id for event in events], token, 0)
            raise
        await self._settle(events, batches, confirms, token, published_at)

    async def _settle(
        self,
        events: Sequence[OutboxEvent],
        batches: Sequence[Sequence[Message]],
        confirms: Sequence[Confirm],
        token: UUID,
        published_at: datetime,
    ) -> None:
        answers = iter(confirms)
        done, unknown, waiting = [], [], []
        for event, messages in zip(events, batches, strict=True):
            outcome = {next(answers) for _ in messages}
            if outcome == {Confirm.CONFIRMED}:
                done.append(event.id)
            elif outcome & {Confirm.RETURNED, Confirm.REFUSED}:
                waiting.append(event.id)
            else:
                unknown.append(event.id)
        removed = await self._outbox.finish(done, token, published_at, self._clock.now())
        await self._outbox.release(unknown, token, 0)
        await self._outbox.release(waiting, token, RETURNED_WAIT_SECONDS)
        if unknown or waiting:
            self._declared = False  # a queue or binding may be gone: declare it before the next try
        self._observer.published(Counter(confirm.value for confirm in confirms), len(done) - removed)
