"""One serving process: HTTP in front, loops behind, and an orderly end."""

import asyncio
import gc
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import structlog
from litestar.types import ASGIApp

from paybell.console.settings import CashierSettings
from paybell.runtime import Runtime, open_runtime
from paybell.serving.application import create_app, create_metrics_app
from paybell.serving.connections import Connections, connections_max, raise_descriptor_limit
from paybell.serving.hangup import Terminal
from paybell.serving.http_server import answering, serve_http
from paybell.settings import Settings
from paybell.web.identity import identified
from paybell.worker import run_loop, run_task

log = structlog.get_logger()
# Together well under the 10 s that orchestrators usually grant: requests in flight first, then the loops,
# then what these had asked for inside the process, then the connections to both databases with 1 s each.
REQUESTS_GRACE_SECONDS = 3
LOOPS_GRACE_SECONDS = 2.0
INNER_GRACE_SECONDS = 1
# New objects between two collections; Python's default of 700 is a twentieth of a batch's.
_COLLECT_AFTER = 20_000


async def run_server(
    settings: Settings,
    urls: Mapping[str, str],
    roles: frozenset[str],
    listening: socket.socket,
    *,
    watched: socket.socket | None = None,
    ready: Callable[[], object] | None = None,
    parent_pipe: int | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT, or the end of the parent at the other side of the pipe.

    SIGHUP has files of keys read again; from a terminal that was closed it is the end, too.

    Args:
        settings: with secrets.
        urls: of the migrated databases.
        roles: some of `paybell.settings.ROLES`.
        listening: the socket to serve.
        watched: the socket to serve metrics alone at, if any.
        ready: told once requests are served.
        parent_pipe: its end is the parent's.
    """
    raise_descriptor_limit()
    stop = _stop_event(parent_pipe)
    async with serving(settings, urls, roles, listening, watched) as served:
        _collect_less_often()
        log.info(
            "service_started",
            port=settings.port,
            roles=sorted(roles),
            connections_max=connections_max(settings),
        )
        if ready is not None:
            ready()
        _read_again_on_hangup(served.runtime.host.read_again, stop)
        stopped = asyncio.create_task(stop.wait())
        refused = served.runtime.host.broker_refused
        ends: list[asyncio.Future[Any]] = [stopped, served.http, *([refused] if refused else [])]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if refused and refused.done():
            raise refused.result()
        log.info("service_stopping")
    log.info("service_stopped")


def _collect_less_often() -> None:
    """Leave what is there from the start out of all collections; a batch leaves hardly any cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


async def try_parts(settings: Settings, urls: Mapping[str, str], roles: frozenset[str]) -> None:
    """Connect everything once and let go: what workers would refuse is refused here, in one sentence."""
    async with open_runtime(settings, urls, roles):
        pass


@dataclass(frozen=True, slots=True)
class Served:
    """A running service: its parts, and the task that answers requests."""

    runtime: Runtime
    http: "asyncio.Task[None]"


@asynccontextmanager
async def serving(
    settings: Settings,
    urls: Mapping[str, str],
    roles: frozenset[str],
    listening: socket.socket,
    watched: socket.socket | None = None,
) -> AsyncIterator[Served]:
    """Serve HTTP and run the loops until the block ends; ``watched`` is the socket of metrics alone.

    The end has an order: requests in flight are answered, the loops finish what they have begun,
    then the parts are taken down. Trade in the same process reaches pay through a socket of its
    own on the loopback, which answers until the last: an order in flight can still be completed.

    Raises:
        PaybellError: as `open_runtime`.
    """
    async with AsyncExitStack() as stack:
        inner = None
        if {"api", "trade"} <= roles and not settings.pay_url:
            inner = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            url = f"http://127.0.0.1:{inner.getsockname()[1]}"
            settings = replace(settings, pay_url=url)
        runtime = await stack.enter_async_context(open_runtime(settings, urls, roles))
        app = answering(_app(runtime, settings))
        if runtime.traces is not None:
            app = runtime.traces.around(app)
        app = identified(app)
        limit, metrics = connections_max(settings), runtime.host.metrics
        if inner is not None:  # counted alone: strangers outside leave the way from trade to pay open
            await stack.enter_async_context(
                serve_http(app, inner, INNER_GRACE_SECONDS, Connections(limit, metrics))
            )
        await stack.enter_async_context(_loops(runtime))
        if watched is not None:
            shown = identified(create_metrics_app(runtime.parts, metrics))
            await stack.enter_async_context(
                serve_http(shown, watched, INNER_GRACE_SECONDS, Connections(limit, metrics))
            )
        outer = serve_http(app, listening, REQUESTS_GRACE_SECONDS, Connections(limit, metrics))
        served = Served(runtime, await stack.enter_async_context(outer))
        stack.callback(runtime.host.streams.close)  # first of all: a stream is no request that ends by itself
        yield served


def _app(runtime: Runtime, shop: CashierSettings) -> ASGIApp:
    host = runtime.host
    app: ASGIApp = create_app(
        runtime.parts,
        host.tokens,
        host.metrics,
        open_metrics=host.settings.loopback,
        shop=shop,
    )
    for shortcut in runtime.parts.shortcuts:
        app = shortcut(app)
    return app


@asynccontextmanager
async def _loops(runtime: Runtime) -> AsyncIterator[None]:
    stop, clock = asyncio.Event(), runtime.host.clock
    tasks = [asyncio.create_task(run_loop(one, stop, clock), name=one.name) for one in runtime.parts.loops]
    tasks += [asyncio.create_task(run_task(one, stop, clock), name=one.name) for one in runtime.parts.tasks]
    try:
        yield
    finally:
        stop.set()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=LOOPS_GRACE_SECONDS)
            for task in late:
                log.warning("loop_cut_off", loop=task.get_name())
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


def _read_again_on_hangup(read_again: asyncio.Event, stop: asyncio.Event) -> None:
    terminal = Terminal()

    def hung_up() -> None:
        if terminal.is_gone:
            stop.set()
        else:
            log.info("files_read_again")
            read_again.set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up)


def _stop_event(parent_pipe: int | None) -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if parent_pipe is not None:

        def parent_ended() -> None:
            loop.remove_reader(parent_pipe)
            stop.set()

        loop.add_reader(parent_pipe, parent_ended)
    return stop
