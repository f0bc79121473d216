"""The loops: small pieces of work, done again and again until asked to stop.

A loop never dies of its work: an outage is waited out, a bug is logged and tried again.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import structlog

from paybell.backoff import exponential
from paybell.clock import Clock
from paybell.errors import PaybellError, Unavailable, with_traceback

log = structlog.get_logger()
# Polling: this fast right after work, this slow when there has long been none.
BUSY_SECONDS, IDLE_SECONDS = 0.02, 1.0
# After a failure; a broker or database that comes back is noticed within the larger one.
RETRY_FIRST_SECONDS, RETRY_MOST_SECONDS = 0.1, 2.0
# What is away is said at once, and again so often while it stays away.
SAID_AGAIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Loop:
    """``step`` does one bounded batch and returns how much it found; ``wake`` ends an idle wait.

    After a step that found less than ``full`` the loop rests: what comes meanwhile shares the next one.
    """

    name: str
    step: Callable[[], Awaitable[int]]
    wake: asyncio.Event | None = None
    idle_seconds: float = IDLE_SECONDS
    full: int = 1
    rest_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Task:
    """``run`` goes on until ``stop`` is set or it fails; then it is started again."""

    name: str
    run: Callable[[asyncio.Event], Awaitable[None]]


async def run_loop(loop: Loop, stop: asyncio.Event, clock: Clock) -> None:
    """Repeat a loop's step until stopped; a step that has begun is finished."""
    idle = exponential(first=BUSY_SECONDS, limit=loop.idle_seconds)
    trouble: Iterator[float] | None = None
    report = _Report(loop.name, clock)
    wake = loop.wake or asyncio.Event()
    stopping = asyncio.ensure_future(stop.wait())
    stopping.add_done_callback(lambda _: wake.set())  # so that a pause waits for one event only
    try:
        while not stop.is_set():
            try:
                found = await loop.step()
            except Exception as error:  # noqa: BLE001 - see the module: a loop never dies of its work
                report.of(error)
                trouble = trouble or _trouble()
                await clock.wait(stop, next(trouble))
                continue
            trouble = None
            report.well()
            if found:
                idle = exponential(first=BUSY_SECONDS, limit=loop.idle_seconds)
                if found < loop.full:
                    await clock.wait(stop, loop.rest_seconds)
            else:
                await clock.wait(wake, next(idle))
                wake.clear()
    finally:
        stopping.cancel()


async def run_task(task: Task, stop: asyncio.Event, clock: Clock) -> None:
    """Keep a task running until stopped."""
    trouble, report = _trouble(), _Report(task.name, clock)
    while not stop.is_set():
        started = clock.monotonic()
        try:
            await task.run(stop)
        except Exception as error:  # noqa: BLE001 - as above
            if clock.monotonic() - started > RETRY_MOST_SECONDS:  # it had been well
                report.well()
            report.of(error)
        if clock.monotonic() - started > RETRY_MOST_SECONDS:
            trouble = _trouble()
        await clock.wait(stop, next(trouble))


def _trouble() -> Iterator[float]:
    return exponential(first=RETRY_FIRST_SECONDS, limit=RETRY_MOST_SECONDS, jitter=random.Random())  # noqa: S311


class _Report:
    """Says what is wrong with a loop: an outage at once and then once a minute, anything else each time."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._said_until = 0.0
        self._code = ""

    def well(self) -> None:
        """Begin anew: the next outage is said at once."""
        self._code = ""

    def of(self, error: Exception) -> None:
        if isinstance(error, Unavailable):
            now = self._clock.monotonic()
            if error.code != self._code or now >= self._said_until:
                self._code, self._said_until = error.code, now + SAID_AGAIN_SECONDS
                log.warning("loop_waits", loop=self._name, code=error.code, detail=str(error))
        elif isinstance(error, PaybellError):
            log.error("loop_refused", loop=self._name, code=error.code, detail=str(error))
        else:
            log.error("loop_failed", loop=self._name, **with_traceback(error))
