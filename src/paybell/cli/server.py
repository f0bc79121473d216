"""One serving process: HTTP in front, loops behind, and an orderly end."""

import asyncio
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import structlog
import uvicorn

from paybell.api.app import create_app
from paybell.runtime import Runtime, open_runtime
from paybell.settings import Settings
from paybell.worker import run_loop, run_task

log = structlog.get_logger()
# Together under the 10 s that orchestrators usually grant: requests in flight first, then the loops.
REQUESTS_GRACE_SECONDS = 4
LOOPS_GRACE_SECONDS = 4.0
# Past this many open requests a process answers 503 instead of piling them up.
CONCURRENCY_MAX = 10_000


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: we decide in which order things end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def run_server(
    settings: Settings,
    urls: Mapping[str, str],
    roles: frozenset[str],
    listening: socket.socket,
    parent_pipe: int | None,
) -> None:
    """Serve until SIGTERM, SIGINT, or the end of the parent at the other side of the pipe."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if parent_pipe is not None:
        loop.add_reader(parent_pipe, stop.set)
    async with open_runtime(settings, urls, roles) as runtime:
        server = _http_server(runtime)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        loops_stop = asyncio.Event()
        loops = _start_loops(runtime, loops_stop)
        log.info("service_started", port=settings.port, roles=sorted(roles))
        await asyncio.wait([asyncio.ensure_future(stop.wait()), serving], return_when=asyncio.FIRST_COMPLETED)
        log.info("service_stopping")
        server.should_exit = True
        await serving
        loops_stop.set()
        _, late = await asyncio.wait(loops, timeout=LOOPS_GRACE_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
    log.info("service_stopped")


def _http_server(runtime: Runtime) -> _Server:
    return _Server(
        uvicorn.Config(
            create_app(runtime),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            limit_concurrency=CONCURRENCY_MAX,
            timeout_graceful_shutdown=REQUESTS_GRACE_SECONDS,
            ws="none",
        )
    )


def _start_loops(runtime: Runtime, stop: asyncio.Event) -> list[asyncio.Task[None]]:
    """Start what the roles need; an api process has no loops and waits for the stop alone."""

    async def stopped() -> None:
        await stop.wait()

    return [
        *(asyncio.create_task(run_loop(one, stop, runtime.clock), name=one.name) for one in runtime.loops),
        *(asyncio.create_task(run_task(one, stop, runtime.clock), name=one.name) for one in runtime.tasks),
        asyncio.create_task(stopped(), name="stop"),
    ]
