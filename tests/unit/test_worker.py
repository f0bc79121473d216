"""The loops: they go on whatever happens, and stop when asked."""

import asyncio
from collections.abc import Sequence

from paybell.errors import BrokerUnavailable, Misconfigured
from paybell.testing import FrozenClock
from paybell.worker import BUSY_SECONDS, IDLE_SECONDS, RETRY_MOST_SECONDS, Loop, Task, run_loop, run_task


class Steps:
    """Does what a list says, one entry for each call, then asks to stop."""

    def __init__(self, script: Sequence[int | Exception]) -> None:
        """An int is what a step found, an exception what it raises."""
        self.script = list(script)
        self.clock = FrozenClock()
        self.began = self.clock.monotonic()
        self.at: list[float] = []
        self.stop = asyncio.Event()

    async def __call__(self) -> int:
        """Do one step."""
        self.at.append(self.clock.monotonic() - self.began)
        entry = self.script.pop(0)
        if not self.script:
            self.stop.set()
        if isinstance(entry, Exception):
            raise entry
        return entry

    @property
    def waits(self) -> list[float]:
        """The time between steps, to the millisecond."""
        return [round(later - earlier, 3) for earlier, later in zip(self.at, self.at[1:], strict=False)]


async def test_a_busy_loop_does_not_wait_and_an_idle_one_waits_longer_and_longer() -> None:
    steps = Steps([5, 5, *[0] * 9, 5, 0, 0])
    await run_loop(Loop("test", steps), steps.stop, steps.clock)

    assert steps.waits == [0, 0, *(0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0, 1.0), 0, 0.02]
    assert (BUSY_SECONDS, IDLE_SECONDS) == (0.02, 1.0)


async def test_a_loop_survives_whatever_its_step_raises() -> None:
    """An outage, a bug, an operator's mistake: it waits a little, and then it goes on as before."""
    troubles = [BrokerUnavailable(), ValueError("bug"), Misconfigured("no"), *[BrokerUnavailable()] * 20]
    steps = Steps([*troubles, 1, 1])
    await run_loop(Loop("test", steps), steps.stop, steps.clock)

    assert len(steps.at) == 25
    assert 0.05 <= steps.waits[0] <= 0.1
    assert all(0 < wait <= RETRY_MOST_SECONDS for wait in steps.waits[:-1])
    assert steps.waits[-1] == 0


async def test_an_idle_loop_is_woken() -> None:
    """What it waits for may be an hour away; an event says that there is work now."""
    found, wake, stop = asyncio.Queue[int](), asyncio.Event(), asyncio.Event()
    calls = 0

    class Endless(FrozenClock):
        async def sleep(self, seconds: float) -> None:
            del seconds
            await asyncio.Event().wait()

    async def step() -> int:
        nonlocal calls
        calls += 1
        found.put_nowait(calls)
        return 0

    running = asyncio.create_task(run_loop(Loop("test", step, wake), stop, Endless()))
    assert await found.get() == 1
    for number in (2, 3):
        wake.set()
        assert await asyncio.wait_for(found.get(), 5) == number
    stop.set()
    await asyncio.wait_for(running, 5)

    assert calls == 3


async def test_a_step_that_has_begun_is_finished() -> None:
    """Being asked to stop cuts nothing off."""
    began, go_on, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()
    finished = []

    async def step() -> int:
        began.set()
        await go_on.wait()
        finished.append(True)
        return 1

    running = asyncio.create_task(run_loop(Loop("test", step), stop, FrozenClock()))
    await began.wait()
    stop.set()
    go_on.set()
    await asyncio.wait_for(running, 5)

    assert finished == [True]


async def test_a_task_that_ends_or_fails_is_started_again() -> None:
    stop = asyncio.Event()
    runs = 0

    async def run(stopping: asyncio.Event) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise BrokerUnavailable
        if runs == 2:
            raise ValueError("bug")
        if runs == 4:
            stopping.set()

    await asyncio.wait_for(run_task(Task("test", run), stop, FrozenClock()), 5)

    assert runs == 4
