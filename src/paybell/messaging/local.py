"""The broker inside the process: same routing, same settling, nothing to install.

It keeps nothing on disk and need not: a message counts as confirmed only when every queue's
listener has settled it, so until then its event stays in the outbox.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from paybell.errors import BrokerUnavailable, Misconfigured
from paybell.messaging.broker import Binding, Confirm, Consumer, Delivery, Exchange, Message, Topology

# What may wait in one queue; a relay holds fewer, so it is met only when no listener runs.
QUEUE_MAX = 10_000


@dataclass(slots=True)
class _Published:
    """A message on its way, and how many queues have still to settle it."""

    message: Message
    unsettled: int
    settled: asyncio.Future[None]


@dataclass(slots=True)
class _Queue:
    type: str
    ready: deque[_Published] = field(default_factory=deque)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, published: _Published) -> None:
        self.ready.append(published)
        self.arrived.set()


class LocalBroker:
    """Exchanges and queues in memory, for everything in one process."""

    def __init__(self) -> None:
        """Start empty."""
        self._exchanges: dict[str, Exchange] = {}
        self._queues: dict[str, _Queue] = {}
        self._bindings: set[Binding] = set()

    @property
    def connected(self) -> bool:
        """Always."""
        return True

    async def close(self) -> None:
        """Nothing to let go of: what waits here still stands in the outbox."""

    async def declare(self, topology: Topology) -> None:
        """Make what is missing; see `Broker.declare`."""
        for exchange in topology.exchanges:
            if self._exchanges.setdefault(exchange.name, exchange) != exchange:
                raise Misconfigured(f"The exchange {exchange.name} exists with another type.")
        for binding in topology.bindings:
            queue = self._queues.setdefault(binding.queue.name, _Queue(binding.queue.type))
            if queue.type != binding.queue.type:
                raise Misconfigured(f"The queue {binding.queue.name} exists with another type.")
            self._bindings.add(binding)

    async def publish(self, messages: Sequence[Message], deadline_seconds: float) -> Sequence[Confirm]:
        """Put messages into their queues and wait until listeners settled them; see `Broker.publish`."""
        published = [self._route(message) for message in messages]
        waiting = [one.settled for one in published if isinstance(one, _Published)]
        if waiting:
            await asyncio.wait(waiting, timeout=deadline_seconds)
        return [one if isinstance(one, Confirm) else _confirm(one) for one in published]

    def _route(self, message: Message) -> _Published | Confirm:
        exchange = self._exchanges.get(message.exchange)
        if exchange is None:
            raise BrokerUnavailable(f"There is no exchange {message.exchange}.")
        names = {
            binding.queue.name
            for binding in self._bindings
            if binding.exchange == exchange and _matches(exchange, binding.key, message.routing_key)
        }
        if not names:
            return Confirm.RETURNED if message.must_route else Confirm.CONFIRMED
        queues = [self._queues[name] for name in names]
        if any(len(queue.ready) >= QUEUE_MAX for queue in queues):
            return Confirm.REFUSED
        published = _Published(message, len(queues), asyncio.get_running_loop().create_future())
        for queue in queues:
            queue.put(published)
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
            consumer.requeue()


def _confirm(published: _Published) -> Confirm:
    return Confirm.CONFIRMED if published.settled.done() else Confirm.UNKNOWN


def _matches(exchange: Exchange, pattern: str, key: str) -> bool:
    if exchange.type == "direct":
        return pattern == key
    return _words_match(pattern.split("."), key.split("."))


def _words_match(pattern: list[str], words: list[str]) -> bool:
    """AMQP 0-9-1 section 3.1.3.3: ``*`` is one word, ``#`` is zero or more."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_words_match(pattern[1:], words[skip:]) for skip in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _words_match(pattern[1:], words[1:])


class _LocalConsumer:
    def __init__(self, queue: _Queue, prefetch: int) -> None:
        self._queue = queue
        self._prefetch = prefetch
        self._last_tag = 0
        self._unsettled: dict[int, _Published] = {}

    async def receive(self, most: int) -> Sequence[Delivery]:
        while not self._queue.ready:
            self._queue.arrived.clear()
            await self._queue.arrived.wait()
        room = min(most, self._prefetch - len(self._unsettled), len(self._queue.ready))
        assert room > 0, "settle before receiving more than the prefetch"
        return [self._deliver(self._queue.ready.popleft()) for _ in range(room)]

    def _deliver(self, published: _Published) -> Delivery:
        self._last_tag += 1
        self._unsettled[self._last_tag] = published
        message = published.message
        return Delivery(
            tag=self._last_tag,
            exchange=message.exchange,
            routing_key=message.routing_key,
            body=message.body,
            content_type=message.content_type,
            message_id=message.message_id,
            headers=message.headers,
        )

    async def settle(self, deliveries: Sequence[Delivery]) -> None:
        for tag in [tag for tag in self._unsettled if tag <= deliveries[-1].tag]:
            published = self._unsettled.pop(tag)
            published.unsettled -= 1
            if not published.unsettled and not published.settled.done():
                published.settled.set_result(None)

    def requeue(self) -> None:
        self._queue.ready.extendleft(reversed(self._unsettled.values()))
        self._unsettled.clear()
        self._queue.arrived.set()
