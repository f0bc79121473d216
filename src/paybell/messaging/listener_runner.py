"""Runs a listener: receives batches, has them processed, acknowledges them, and takes up what failed again.

The order of steps is the promise. The transaction (inbox, effect, failures) commits first and
the deliveries are acknowledged after it; a crash between the two brings them again, and the inbox
knows them.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Generic

from paybell.batching import GATHER_MOST_SECONDS
from paybell.clock import Clock
from paybell.messaging import failure_rows
from paybell.messaging.arrivals import Arrival, dead, identity
from paybell.messaging.broker import Broker, Consumer, Delivery, Topology
from paybell.messaging.event_processor import EventProcessor
from paybell.messaging.event_reader import EventReader
from paybell.messaging.listener import Event, Listener
from paybell.messaging.outages import OutageRetry
from paybell.messaging.signatures import EventKeys
from paybell.messaging.suspects import DEATHS_MAX, Piece, Suspects
from paybell.storage import Database
from paybell.telemetry.observers import ListenerObserver

RETRY_BATCH_MAX = 100


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
        keys: EventKeys | None = None,
    ) -> None:
        """Apply up to ``batch_max`` deliveries in a transaction.

        Args:
            listener: whose function is fed.
            broker: where deliveries come from.
            database: where its inbox and its failures are, and where its function works.
            clock: what time it is.
            observer: is called after each batch.
            batch_max: most deliveries applied in one transaction.
            keys: verify its events; those of the environment when none are given.

        Raises:
            Misconfigured: its events are to be verified, and there is no key.
        """
        keys = (keys or EventKeys.from_environment()) if listener.verify else None
        self._listener = listener
        self._broker = broker
        self._database = database
        self._clock = clock
        self._observer = observer
        self._batch_max = batch_max
        self._outage_retry = OutageRetry(database, clock, listener.name)
        self._reader = EventReader(listener, keys)
        self._processor = EventProcessor(
            listener, database, clock, observer, outage_retry=self._outage_retry, reader=self._reader
        )
        self._suspects = Suspects(database, listener.name)
        self.name = listener.name
        self.queue = listener.binding.queue.name
        self.consuming = False

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until stopped; a batch that has begun is applied and acknowledged.

        After one that was not full it rests for as long as it took: what comes meanwhile shares the next one.

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
                    began = self._clock.monotonic()
                    with self._observer.applying(self.queue, _traceparents(deliveries)):
                        await self.apply(deliveries)
                    await consumer.acknowledge(deliveries)
                    if len(deliveries) < self._batch_max:
                        took = self._clock.monotonic() - began
                        await self._clock.wait(stop, min(took, GATHER_MOST_SECONDS))
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
        """Apply or keep every delivery; return when all of them are on disk one way or the other.

        No outage ends it: what is in hand stays there, or the broker would count each return against it.
        """
        arrivals = [Arrival(delivery) for delivery in deliveries]
        if any(delivery.redelivered for delivery in deliveries):
            await self._process_suspected(arrivals)
        else:
            await self._outage_retry.until_done(partial(self._processor.process, arrivals))

    async def retry_once(self) -> int:
        """Try failures that are due once more; return how many were taken.

        Raises:
            DatabaseUnavailable: what may have been taken is due again after a while.
        """
        now = self._clock.now()
        due = await failure_rows.take_due(self._database, self._listener.name, now, RETRY_BATCH_MAX)
        if due:
            await self._process_suspected(due)
        return len(due)

    async def _process_suspected(self, arrivals: Sequence[Arrival]) -> None:
        """Process what may have ended a process before, in the pieces that are left to suspect."""
        until_done = self._outage_retry.until_done
        for piece in await until_done(partial(self._suspects.divide, arrivals)):
            await until_done(partial(self._suspects.record, piece))
            step = self._set_aside if piece.kills else self._process
            await until_done(partial(step, piece))
            await until_done(partial(self._suspects.clear, piece))

    async def _process(self, piece: Piece) -> None:
        await self._processor.process(piece.arrivals)

    async def _set_aside(self, piece: Piece) -> None:
        """Keep an arrival that ends the process each time; nobody handles it until a person replays it."""
        (arrival,) = piece.arrivals
        event_id = arrival.event_id or identity(arrival.delivery)
        if piece.deaths == DEATHS_MAX:  # should reading it be what kills, the next process does without
            event_id = self._reader.name(arrival)
        text = f"the process ended {piece.deaths} times while it was handled, at last alone"
        await self._processor.keep([dead(arrival, event_id, "listener_died", text)])


def _traceparents(deliveries: Sequence[Delivery]) -> list[str]:
    given = (delivery.headers.get("traceparent") for delivery in deliveries)
    return [text for text in given if isinstance(text, str)]
