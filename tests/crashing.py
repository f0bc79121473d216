"""A process that is killed between two steps of what it does, whichever step is asked for."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

from support import seeded

# Opens what the work needs and yields the work; only the work's own steps are counted.
Opened: TypeAlias = "Callable[..., AbstractAsyncContextManager[Callable[[], Awaitable[object]]]]"
_Steps: TypeAlias = "Coroutine[Any, Any, Any] | Generator[Any, Any, Any]"

_FINISHED = 0
_processes = multiprocessing.get_context("forkserver")
# What takes long to import is imported once.
_processes.set_forkserver_preload(["pytest", "paybell.serving.process", "paybell.messaging.rabbitmq.broker"])


class _Fuse:
    """Kills this process when it has burnt down."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def burn(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class _Fused(Coroutine[Any, Any, Any]):
    """A coroutine with a crash point at each await: it has asked, and will not hear the answer.

    Whoever was asked does it all the same, so this is also dying after the answer, before anything else.
    """

    def __init__(self, inner: Coroutine[Any, Any, Any], fuse: _Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    def send(self, value: object) -> object:
        asked = self._inner.send(value)
        self._fuse.burn()
        return asked

    def throw(self, *error: Any) -> object:
        asked = self._inner.throw(*error)
        self._fuse.burn()
        return asked

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()


async def _burn(opened: Opened, arguments: tuple[object, ...], step: int) -> None:
    fuse, loop = _Fuse(step), asyncio.get_running_loop()

    def fused(loop: asyncio.AbstractEventLoop, inner: "_Steps", /, **options: Any) -> "asyncio.Task[Any]":
        assert isinstance(inner, Coroutine)
        return asyncio.Task(_Fused(inner, fuse), loop=loop, **options)

    async def act(work: Callable[[], Awaitable[object]]) -> None:
        await work()

    async with opened(*arguments) as work:
        loop.set_task_factory(fused)  # from here on, in every task there will be
        await loop.create_task(act(work))
        os._exit(_FINISHED)


def _child(opened: Opened, arguments: tuple[object, ...], step: int) -> None:
    asyncio.run(_burn(opened, arguments, step))


async def dies_at(step: int, opened: Opened, *arguments: object) -> bool:
    """Do the work in a process that is killed (SIGKILL) at a step; False: it had finished before."""
    process = _processes.Process(target=_child, args=(opened, arguments, step), daemon=True)
    process.start()
    await asyncio.to_thread(process.join)
    assert process.exitcode in (_FINISHED, -signal.SIGKILL), f"it failed by itself at step {step}"
    return process.exitcode != _FINISHED


async def every_step(opened: Opened, *arguments: object, most: int = 2_000) -> AsyncIterator[int]:
    """Kill the work at its first step, its second and so on, until it finishes; yield after each.

    At each step with ``make test THOROUGH=1``; else at one in four, others in each run.
    """
    stride = 1 if os.environ.get("THOROUGH") else 4
    for step in range(seeded().randint(1, stride), most, stride):
        died = await dies_at(step, opened, step, *arguments)
        yield step
        if not died:
            return
    raise AssertionError(f"it has not finished after {most} steps")
