"""For tests, ours and our users': time that stands still, ids that count, a broker that can be bad."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta

from paybell.errors import BrokerUnavailable
from paybell.messaging.broker import Answer, Broker, Confirm, Consumer, Message, Topology


class FrozenClock:
    """Time that moves only when told to; sleeping moves it."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start

    def now(self) -> datetime:
        """Return the time of day in UTC."""
        return self._now

    def monotonic(self) -> float:
        """Return seconds since 1970 of the same time."""
        return self._now.timestamp()

    async def sleep(self, seconds: float) -> None:
        """Move time on without waiting."""
        self.advance(seconds)
        await asyncio.sleep(0)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Sleep, unless the event comes before."""
        ends = [asyncio.ensure_future(self.sleep(seconds)), asyncio.ensure_future(event.wait())]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()

    def advance(self, seconds: float) -> None:
        """Move time on."""
        self._now += timedelta(seconds=seconds)


class SequentialIds:
    """Ids that count up from a start."""

    def __init__(self, start: int = 1) -> None:
        self._next = start

    def next(self) -> int:
        """Return the next number."""
        self._next += 1
        return self._next - 1


class FaultyBroker:
    """A broker that works until told not to.

    ``down`` refuses to publish. ``lose_confirms`` publishes and answers UNKNOWN, as a connection
    that dies after the message arrived. ``answer`` gives every message this answer, unpublished.
    """

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.down = False
        self.lose_confirms = False
        self.answer: Answer | None = None
        self.published = 0

    @property
    def connected(self) -> bool:
        """Say whether publishing would be tried."""
        return not self.down and self.broker.connected

    async def declare(self, topology: Topology) -> None:
        """Pass on, unless down."""
        if self.down:
            raise BrokerUnavailable
        await self.broker.declare(topology)

    async def publish(self, messages: Sequence[Message], deadline_seconds: float) -> Sequence[Answer]:
        """Pass on, unless told otherwise."""
        if self.down:
            raise BrokerUnavailable
        if self.answer is not None:
            return [self.answer] * len(messages)
        self.published += len(messages)
        confirms = await self.broker.publish(messages, deadline_seconds)
        return [Confirm.UNKNOWN] * len(messages) if self.lose_confirms else confirms

    def consume(self, queue: str, prefetch: int) -> AbstractAsyncContextManager[Consumer]:
        """Pass on."""
        return self.broker.consume(queue, prefetch)

    async def close(self) -> None:
        """Pass on."""
        await self.broker.close()
