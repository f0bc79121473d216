"""Server-sent events: streams that stay open, are bounded in number, and end when the process does.

Clients read them with ``fetch`` and an ``Authorization`` header; a token in a URL would end up in logs.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator

import msgspec
from litestar.response import Stream

from paybell.errors import Overloaded
from paybell.tokens import Principal
from paybell.web.errors import TooManyStreams

# A stream costs a connection, a task and some 20 KB.
STREAMS_MAX = 1_000
# Of one caller (`sub` and merchant of the token): some windows and tabs, and a shop that passes orders on.
STREAMS_PER_CALLER_MAX = 32
# Proxies end a connection without traffic, many after 60 s.
HEARTBEAT_SECONDS = 15.0
# Readers come back by themselves; a token that has expired meanwhile is noticed then.
LIFETIME_SECONDS = 600.0
_HEARTBEAT = b": still here\n\n"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the latter for nginx

Source = AsyncGenerator[tuple[str, object], None]


class Streams:
    """The open event streams of a process."""

    def __init__(
        self,
        *,
        limit: int = STREAMS_MAX,
        most_per_caller: int = STREAMS_PER_CALLER_MAX,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        lifetime_seconds: float = LIFETIME_SECONDS,
    ) -> None:
        """Keep at most ``limit`` open, and of one caller its share, each for at most its lifetime."""
        self._limit = limit
        self._most_per_caller = most_per_caller
        self._heartbeat_seconds = heartbeat_seconds
        self._lifetime_seconds = lifetime_seconds
        self._closing = asyncio.Event()
        self._open: Counter[tuple[str, str]] = Counter()

    @property
    def open(self) -> int:
        """How many there are."""
        return self._open.total()

    def close(self) -> None:
        """End all streams after what they are sending, and let no new one begin."""
        self._closing.set()

    def respond(self, source: Source, caller: Principal) -> Stream:
        """Return a response that sends what the source yields: names of events with their data.

        Raises:
            TooManyStreams: this caller has its share open already.
            Overloaded: there are too many streams, or the process is about to end.
        """
        who = caller.merchant_id, caller.user_id
        if self._open[who] >= self._most_per_caller:
            raise TooManyStreams
        if self.open >= self._limit or self._closing.is_set():
            raise Overloaded
        return Stream(self._send(source, who), media_type="text/event-stream", headers=_HEADERS)

    async def _send(self, source: Source, who: tuple[str, str]) -> AsyncIterator[bytes]:
        # Others may have come between the answer and its body.
        if self.open >= self._limit or self._open[who] >= self._most_per_caller:
            return
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._lifetime_seconds
        closing = asyncio.ensure_future(self._closing.wait())
        coming = asyncio.ensure_future(anext(source, None))
        self._open[who] += 1
        try:
            while loop.time() < ends_at:
                await asyncio.wait(
                    [coming, closing], timeout=self._heartbeat_seconds, return_when=asyncio.FIRST_COMPLETED
                )
                if closing.done():
                    return
                if not coming.done():
                    yield _HEARTBEAT
                    continue
                if (event := coming.result()) is None:
                    return
                yield _frame(*event)
                coming = asyncio.ensure_future(anext(source, None))
        finally:
            self._open -= Counter([who])  # nothing is kept of those who have none
            closing.cancel()
            coming.cancel()
            await asyncio.wait([coming])
            await source.aclose()


def _frame(name: str, data: object) -> bytes:
    """One event; JSON has no line breaks of its own."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))
