"""What Paybell needs of a message broker; `rabbitmq` and `local` provide it.

One contract suite (`tests/contract/test_broker.py`) holds both to the same behaviour.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange."""

    name: str
    type: Literal["direct", "topic"] = "direct"

    def matches(self, pattern: str, key: str) -> bool:
        """Say whether a message with this routing key goes into a queue that is bound with ``pattern``."""
        if self.type == "direct":
            return pattern == key
        return _words_match(_words(pattern), _words(key))


def _words(text: str) -> list[str]:
    return text.split(".") if text else []


def _words_match(pattern: list[str], words: list[str]) -> bool:
    """AMQP 0-9-1 section 3.1.3.3: ``*`` is one word, ``#`` is zero or more."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_words_match(pattern[1:], words[skip:]) for skip in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _words_match(pattern[1:], words[1:])


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue; ``quorum`` adds the ``x-queue-type`` argument."""

    name: str
    type: Literal["classic", "quorum"] = "classic"


@dataclass(frozen=True, slots=True)
class Binding:
    """Messages of an exchange with this routing key go into this queue.

    On a topic exchange ``*`` in the key stands for one word and ``#`` for any number.
    """

    queue: Queue
    exchange: Exchange
    key: str


@dataclass(frozen=True, slots=True)
class Topology:
    """What has to exist at the broker; declared by publishers and consumers alike."""

    exchanges: Sequence[Exchange]
    bindings: Sequence[Binding]


# Where a message goes: its exchange and its routing key.
Route = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Message:
    """One message to publish, persistent always.

    ``message_id`` is unique for each attempt: returns are matched by it.
    ``must_route``: no queue to go to is a failure.
    """

    exchange: str
    routing_key: str
    body: bytes
    message_id: str
    content_type: str
    type: str
    timestamp: datetime
    headers: Mapping[str, str] = field(default_factory=dict)
    must_route: bool = True

    @property
    def route(self) -> Route:
        """Where it goes."""
        return self.exchange, self.routing_key


class Confirm(Enum):
    """What became of a published message."""

    CONFIRMED = "confirmed"
    RETURNED = "returned"  # accepted, but no queue is bound (AMQP 0-9-1 Basic.Return)
    REFUSED = "refused"  # the broker said no (Basic.Nack)
    UNKNOWN = "unknown"  # no answer in time, or the connection was lost: publish again


@dataclass(frozen=True, slots=True)
class Denied:
    """What became of a message that the broker ends channels for, and why in its own words.

    By its ``code`` (AMQP 0-9-1, 1.7): 403, the right to publish there is missing; 404, there is no such
    exchange; 406, something about this message.
    """

    code: int
    text: str


Answer = Confirm | Denied


# Longer bodies are cut on arrival: none of ours passes 2 KiB, and a flood of large ones must not
# fill the memory of a listener.
MESSAGE_BODY_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as it arrived; ``tag`` acknowledges it.

    ``cut`` says the body was over `MESSAGE_BODY_MAX` bytes, ``redelivered`` that it may have been
    handed over before.
    """

    tag: int
    exchange: str
    routing_key: str
    body: bytes
    content_type: str = ""
    message_id: str = ""
    headers: Mapping[str, object] = field(default_factory=dict)
    cut: bool = False
    redelivered: bool = False


@dataclass(frozen=True, slots=True)
class QueueState:
    """How many messages of a queue wait for a consumer, and how many consumers it has."""

    ready: int
    consumers: int


class Queues(Protocol):
    """A broker as operators look at it."""

    async def look_at(self, queue: str) -> QueueState | None:
        """Return how a queue stands, None when there is none of that name.

        Raises:
            BrokerUnavailable: no connection.
        """
        ...


class Consumer(Protocol):
    """A subscription to one queue. Deliveries that are not acknowledged come again, here or elsewhere."""

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Wait for deliveries and return what is there, 1 to ``limit``, in order.

        Raises:
            BrokerUnavailable: the subscription is gone; unacknowledged deliveries come again.
        """
        ...

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge everything up to the last of these; they must be the oldest unacknowledged ones.

        Raises:
            BrokerUnavailable: as above.
        """
        ...


class Broker(Protocol):
    """A message broker."""

    async def declare(self, topology: Topology) -> None:
        """Make sure the topology exists; what is there already is never deleted.

        Raises:
            BrokerUnavailable: no connection.
            Misconfigured: something of that name exists with other properties.
        """
        ...

    async def publish(self, messages: Sequence[Message], deadline_seconds: float) -> Sequence[Answer]:
        """Publish a batch and return what became of each message, in order.

        Raises:
            BrokerUnavailable: no connection, or the broker blocks publishers; nothing was sent.
        """
        ...

    def consume(self, queue: str, prefetch: int) -> AbstractAsyncContextManager[Consumer]:
        """Subscribe to a queue; at most ``prefetch`` deliveries are unacknowledged at a time.

        Raises:
            BrokerUnavailable: on entry, no connection or no such queue.
        """
        ...

    async def close(self) -> None:
        """Let go of the broker."""
        ...

    @property
    def connected(self) -> bool:
        """Say whether publishing would be tried right now."""
        ...
