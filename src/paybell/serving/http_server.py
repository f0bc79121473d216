"""The HTTP server of a process: uvicorn, which ends when we say so."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import cast

import uvicorn
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from paybell.serving.connections import Connections
from paybell.serving.http_protocol import UNREAD_BYTES_MAX, BoundedConnection
from paybell.web.error_handlers import cut_off

# Longer than clients keep idle connections (aiohttp: 15 s), so that none is closed under a request.
KEEP_ALIVE_SECONDS = 75
# How often connections are looked at: whether their clients read and send what they should.
_CHECK_SECONDS = 1.0


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: we decide in which order things end."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Accept nothing more, and answer what is in flight."""
        self.should_exit = True
        self._ending.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()

    async def main_loop(self) -> None:
        """Look once a second; uvicorn's own wakes ten times as often, to see whether it should end."""
        await self.on_tick(0)
        while not self._ending.is_set():
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                cast("BoundedConnection", connection).check(now)
            with suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_SECONDS):
                    await self._ending.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def answering(app: ASGIApp) -> ASGIApp:
    """Return the application with an answer also for requests that the end cuts off."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await app(scope, receive, note)
        except asyncio.CancelledError:
            if not started:
                await cut_off(cast("HTTPScope", scope), receive, send)

    return answer


@asynccontextmanager
async def serve_http(
    app: ASGIApp, listening: socket.socket, grace_seconds: int, connections: Connections
) -> AsyncIterator["asyncio.Task[None]"]:
    """Answer requests until the block ends, and those in flight for the grace after it."""
    # Accepted connections inherit it; Linux grants twice as much.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNREAD_BYTES_MAX)
    # An answer is a header and a body: with Nagle's algorithm (RFC 896) the second waits for a delayed ACK.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = _Server(
        uvicorn.Config(
            app,
            http=cast("type[asyncio.Protocol]", partial(BoundedConnection, connections)),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=grace_seconds,
            ws="none",
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listening]), name="http")
    try:
        listens = asyncio.create_task(server.listens.wait())
        await asyncio.wait([task, listens], return_when=asyncio.FIRST_COMPLETED)
        listens.cancel()
        yield task
    finally:
        server.end()
        await task
