"""What `serve` does while a database does not answer yet: it waits without end, and says so."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import structlog

from paybell.clock import Clock
from paybell.errors import DatabaseUnavailable
from paybell.serving.databases import prepare
from paybell.settings import Settings
from paybell.worker import SAID_AGAIN_SECONDS

log = structlog.get_logger()
# One that is started together with us is not worth a word.
_FIRST_SECONDS = 2.0
_REQUEST_BYTES_MAX, _REQUEST_SECONDS = 16 * 1024, 5.0


async def prepare_patiently(
    settings: Settings, urls: Mapping[str, str], clock: Clock, listening: socket.socket
) -> None:
    """Do as `prepare`; a database that does not answer is waited for, and meanwhile nobody is let in.

    ``/healthz`` answers 200: the process is alive. Everything else is answered 503 ``not_ready``.

    Raises:
        Misconfigured: a database answers and refuses us, or is behind.
    """
    wait_seconds, said = _FIRST_SECONDS, float("-inf")
    async with AsyncExitStack() as stack:
        while True:
            try:
                return await prepare(settings, urls, clock, wait_seconds=wait_seconds)
            except DatabaseUnavailable as error:
                if said == float("-inf"):
                    await stack.enter_async_context(_nobody_let_in(listening))
                    wait_seconds = 0.0
                if clock.monotonic() - said >= SAID_AGAIN_SECONDS:
                    said = clock.monotonic()
                    log.warning("database_away", detail=f"{error} It is waited for.")
                await clock.sleep(0.5)


@asynccontextmanager
async def _nobody_let_in(listening: socket.socket) -> AsyncIterator[None]:
    from paybell.serving.connections import refusal_answer  # noqa: PLC0415 - brings the web framework
    from paybell.web.errors import NotReady  # noqa: PLC0415

    refused = refusal_answer(NotReady)
    alive = b'HTTP/1.1 200 OK\r\ncontent-length: 15\r\nconnection: close\r\n\r\n{"status":"ok"}'

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The process may end meanwhile; of a handler that ends cancelled asyncio logs a traceback.
        with suppress(OSError, TimeoutError, EOFError, asyncio.LimitOverrunError, asyncio.CancelledError):
            try:
                async with asyncio.timeout(_REQUEST_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(alive if head.startswith(b"GET /healthz ") else refused)
                    await writer.drain()
            finally:
                writer.close()
                await writer.wait_closed()

    # A copy: whoever serves in the end needs the socket itself.
    async with await asyncio.start_server(answer, sock=listening.dup(), limit=_REQUEST_BYTES_MAX):
        yield
