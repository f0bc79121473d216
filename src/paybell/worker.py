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
    trouble = _trouble()
    while not stop.is_set():
        try:
            found = await loop.step()
        except Exception as error:  # noqa: BLE001 - see the module: a loop never dies of its work
            _report(loop.name, error)
            await _pause(next(trouble), stop, None, clock)
            continue
        trouble = _trouble()
        if found:
            idle = exponential(first=BUSY_SECONDS, limit=loop.idle_seconds)
            if found < loop.full:
                await _pause(loop.rest_seconds, stop, None, clock)
        else:
            await _pause(next(idle), stop, loop.wake, clock)


async def run_task(task: Task, stop: asyncio.Event, clock: Clock) -> None:
    """Keep a task running until stopped."""
    trouble = _trouble()
    while not stop.is_set():
        started = clock.monotonic()
        try:
            await task.run(stop)
        except Exception as error:  # noqa: BLE001 - as above
            _report(task.name, error)
        if clock.monotonic() - started > RETRY_MOST_SECONDS:
            trouble = _trouble()
        await _pause(next(trouble), stop, None, clock)


def _trouble() -> Iterator[float]:
    return exponential(first=RETRY_FIRST_SECONDS, limit=RETRY_MOST_SECONDS, jitter=random.Random())  # noqa: S311


def _report(name: str, error: Exception) -> None:
    if isinstance(error, Unavailable):
        log.warning("loop_waits", loop=name, code=error.code, detail=str(error))
    elif isinstance(error, PaybellError):
        log.error("loop_refused", loop=name, code=error.code, detail=str(error))
    else:
        log.error("loop_failed", loop=name, **with_traceback(error))


async def _pause(seconds: float, stop: asyncio.Event, wake: asyncio.Event | None, clock: Clock) -> None:
    """Wait, but not past a stop or a wake-up."""
    ends = [asyncio.ensure_future(clock.sleep(seconds)), asyncio.ensure_future(stop.wait())]
    if wake is not None:
        ends.append(asyncio.ensure_future(wake.wait()))
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for end in ends:
            end.cancel()
    if wake is not None:
        wake.clear()
