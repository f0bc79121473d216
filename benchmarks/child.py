"""The other side of `benchmarks.processes.child`: what a measured process says and hears."""

import asyncio
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from benchmarks.processes import peak_mb


async def serve(work: Callable[[dict[str, Any]], Awaitable[Mapping[str, object]]]) -> None:
    """Do one piece of work after the other; each begins with a specification, one JSON line."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        answer(await work(msgspec.json.decode(line)))


async def ready() -> None:
    """Say that everything is prepared, and wait for the word to go."""
    answer({})
    await asyncio.to_thread(sys.stdin.readline)


def answer(result: Mapping[str, object]) -> None:
    """Write one JSON line."""
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
    sys.stdout.flush()


class Meter:
    """Measures from its making on: wall time, and this process's own CPU."""

    def __init__(self) -> None:
        """Begin."""
        self.started = time.monotonic()
        self._cpu = _cpu()

    def report(self, **more: object) -> dict[str, object]:
        """Return the seconds of both, the peak of memory, and what else is to be told."""
        return {
            "started": self.started,
            "ended": time.monotonic(),
            "cpu": _cpu() - self._cpu,
            "peakMb": peak_mb(os.getpid()),
            **more,
        }


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
