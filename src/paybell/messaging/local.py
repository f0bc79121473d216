"""The broker inside the process: same routing, same acknowledgements, nothing to install.

It keeps nothing on disk and need not: a message counts as confirmed only when every queue's
listener has acknowledged it, so until then its event stays in the outbox.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from paybell.errors import BrokerUnavailable, Misconfigured
from paybell.messaging.broker import (
    MESSAGE_BODY_MAX,
    Answer,
    Binding,
    Confirm,
    Consumer,
    Delivery,
    Denied,
    Exchange,
    Message,
    QueueState,
    Topology,
)

# What may wait in one queue; a relay holds fewer, so it is met only when no listener runs.
QUEUE_MAX = 10_000


@dataclass(slots=True)
class _Batch:
    """Messages published together; ``waiting`` of them are not acknowledged by every queue's listener yet."""

    waiting: int
    acknowledged: asyncio.Future[None]


@dataclass(slots=True)
class _Published:
    """A message on its way, and how many queues have still to acknowledge it."""

    message: Message
    batch: _Batch
    unacknowledged: int

    def acknowledge(self) -> None:
        """Count one queue off."""
        self.unacknowledged -= 1
        if self.unacknowledged:
            return
        self.batch.waiting -= 1
        if not self.batch.waiting and not self.batch.acknowledged.done():
            self.batch.acknowledged.set_result(None)


@dataclass(slots=True)
class _Queue:
    type: str
    ready: deque[_Published] = field(default_factory=deque)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    consumers: int = 0
    returned: int = 0  # so many of the first in ``ready`` were handed over before


class LocalBroker:
    """Exchanges and queues in memory, for everything in one process."""

    def __init__(self) -> None:
        self._exchanges: dict[str, Exchange] = {}
        self._queues: dict[str, _Queue] = {}
        self._bindings: set[Binding] = set()

    @property
    def connected(self) -> bool:
        """Always."""
        return True

    async def look_at(self, queue: str) -> QueueState | None:
        """Return how a queue stands; see `Queues.look_at`."""
        there = self._queues.get(queue)
        return QueueState(len(there.ready), there.consumers) if there else None

    async def close(self) -> None:
        """Nothing to let go of: what waits here still stands in the outbox."""

    async def declare(self, topology: Topology) -> None:
        """Make what is missing; see `Broker.declare`."""
        for exchange in topology.exchanges:
            there = self._exchanges.setdefault(exchange.name, exchange)
            if there != exchange:
                raise Misconfigured(
                    f"The exchange {exchange.name} is of type {there.type} and cannot be declared as "
                    f"{exchange.type}; use one type everywhere. Paybell deletes nothing."
                )
        for binding in topology.bindings:
            self._declare_queue(binding)
            if self._exchanges.get(binding.exchange.name) != binding.exchange:
                raise BrokerUnavailable(f"There is no {binding.exchange} to bind {binding.queue.name} to.")
            self._bindings.add(binding)

    def _declare_queue(self, binding: Binding) -> None:
        name, wanted = binding.queue.name, binding.queue.type
        there = self._queues.setdefault(name, _Queue(wanted))
        if there.type != wanted:
            raise Misconfigured(
                f"The queue {name} is of type {there.type} and cannot be declared as {wanted}; "
                "use one type everywhere. Paybell deletes nothing."
            )

    async def publish(self, messages: Sequence[Message], deadline_seconds: float) -> Sequence[Answer]:
        """Put messages into their queues and wait until listeners acknowledged them; see `Broker.publish`."""
        batch = _Batch(0, asyncio.get_running_loop().create_future())
        published = [self._route(message, batch) for message in messages]
        if batch.waiting:
            await asyncio.wait([batch.acknowledged], timeout=deadline_seconds)
        return [_answer(one) for one in published]

    def _route(self, message: Message, batch: _Batch) -> _Published | Answer:
        exchange = self._exchanges.get(message.exchange)
        if exchange is None:
            return Denied(404, f"there is no exchange {message.exchange}")
        names = {
            binding.queue.name
            for binding in self._bindings
            if binding.exchange == exchange and exchange.matches(binding.key, message.routing_key)
        }
        if not names:
            return Confirm.RETURNED if message.must_route else Confirm.CONFIRMED
        queues = [self._queues[name] for name in names]
        if any(len(queue.ready) >= QUEUE_MAX for queue in queues):
            return Confirm.REFUSED
        published = _Published(message, batch, len(queues))
        batch.waiting += 1
        for queue in queues:
            queue.ready.append(published)
            queue.changed.set()
        return published

    @asynccontextmanager
    async def consume(self, queue: str, prefetch: int) -> AsyncIterator[Consumer]:
        """Subscribe to a queue; see `Broker.consume`."""
        if queue not in self._queues:
            raise BrokerUnavailable(f"There is no queue {queue}.")
        consumer = _LocalConsumer(self._queues[queue], prefetch)
        try:
            yield consumer
        finally:
            consumer.close()


def _answer(published: _Published | Answer) -> Answer:
    if not isinstance(published, _Published):
        return published
    return Confirm.UNKNOWN if published.unacknowledged else Confirm.CONFIRMED


class _LocalConsumer:
    def __init__(self, queue: _Queue, prefetch: int) -> None:
        self._queue = queue
        queue.consumers += 1
        self._prefetch = prefetch
        self._last_tag = 0
        self._unacknowledged: dict[int, _Published] = {}

    async def receive(self, limit: int) -> Sequence[Delivery]:
        while not (room := min(limit, self._prefetch - len(self._unacknowledged), len(self._queue.ready))):
            self._queue.changed.clear()
            await self._queue.changed.wait()
        return [self._deliver() for _ in range(room)]

    def _deliver(self) -> Delivery:
        published = self._queue.ready.popleft()
        redelivered = self._queue.returned > 0
        self._queue.returned -= redelivered
        self._last_tag += 1
        self._unacknowledged[self._last_tag] = published
        message = published.message
        return Delivery(
            tag=self._last_tag,
            exchange=message.exchange,
            routing_key=message.routing_key,
            body=message.body[:MESSAGE_BODY_MAX],
            content_type=message.content_type,
            message_id=message.message_id,
            headers=message.headers,
            cut=len(message.body) > MESSAGE_BODY_MAX,
            redelivered=redelivered,
        )

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        for tag in [tag for tag in self._unacknowledged if tag <= deliveries[-1].tag]:
            self._unacknowledged.pop(tag).acknowledge()
        self._queue.changed.set()

    def close(self) -> None:
        self._queue.consumers -= 1
        self._queue.ready.extendleft(reversed(self._unacknowledged.values()))
        self._queue.returned += len(self._unacknowledged)
        self._unacknowledged.clear()
        self._queue.changed.set()
