"""Time as a part that can be exchanged: nothing else in Paybell asks the system for it."""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What Paybell needs of time."""

    def now(self) -> datetime:
        """Return the time of day in UTC, to the microsecond."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go backwards, for measuring and deadlines."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Wait for an event, but not longer than this."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the time of day in UTC, to the microsecond."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go backwards."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Wait for an event, but not longer than this; every loop does it, so it makes no tasks."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()


def rfc3339(moment: datetime) -> str:
    """Write a UTC time as RFC 3339 with milliseconds: ``2026-01-31T12:00:00.000Z``."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def micros_of(moment: datetime) -> int:
    """Return the whole microseconds since 1970: what cursors hold of a time."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment_of(micros: int) -> datetime:
    """Return the time that is so many microseconds after the beginning of 1970."""
    return _EPOCH + timedelta(microseconds=micros)
