"""The sandbox beside a running service, in a thread of its own."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from paybell.clock import SystemClock
from paybell.sandbox.setup import Setup

_START_SECONDS = 15.0
_STOP_SECONDS = 5.0
_Started = tuple[str, asyncio.AbstractEventLoop, asyncio.Event]


@contextmanager
def serving_beside(folder: Path) -> Iterator[tuple[str, Setup]]:
    """Serve all simulators, their keys in a folder, until the block ends; yield their URL and their setup."""
    setup = Setup(folder, SystemClock())
    started = Future[_Started]()
    thread = Thread(target=lambda: asyncio.run(_serve(setup, started)), name="sandbox", daemon=True)
    thread.start()
    url, loop, stop = started.result(_START_SECONDS)
    try:
        yield url, setup
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(_STOP_SECONDS)


async def _serve(setup: Setup, started: "Future[_Started]") -> None:
    stop = asyncio.Event()
    try:
        async with setup.sandbox.serving() as url:
            started.set_result((url, asyncio.get_running_loop(), stop))
            await stop.wait()
    except OSError as error:
        started.set_exception(error)
