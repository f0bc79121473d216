"""Connections with bounds of their own: what a client may send, leave half sent, or leave unread.

The HTTP server has none of these. A request is parsed in pieces, so that nothing after a piece that
goes too far costs anything; what is not parsed yet waits while an answer before it is due, and meanwhile
nothing more is read from the client.
"""

import asyncio
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from paybell.errors import PaybellError
from paybell.serving.connections import Connections, refusal_answer
from paybell.web.errors import (
    HeadersTooLarge,
    MalformedRequest,
    RequestTimeout,
    RequestTooLong,
    TooManyConnections,
)

# The longest request line and header block of ours, with a token, stay under 2 KiB; a browser's cookies for
# other programs of the same host may come on top.
REQUEST_LINE_BYTES_MAX = 8 * 1024
HEADER_BYTES_MAX = 16 * 1024
HEADERS_MAX = 100
# From the first byte to the end of the headers, from there to the end of the body.
HEADER_SECONDS = 10.0
BODY_SECONDS = 30.0
# Parsed at once. As many requests as fit in here may wait in a connection: some 110 of the shortest.
PIECE_BYTES = 2 * 1024
# Requests sent ahead of their answers are answered in order: so many at once, then one after each pause,
# until the client waits for its answers.
AHEAD_AT_ONCE = 16
AHEAD_PAUSE_SECONDS = 0.1
# An answer waits here for its client, and as much again in the kernel; past it no more is produced. A client
# reads at least half of what waits within the time, or is cut off.
UNREAD_BYTES_MAX = 64 * 1024
UNREAD_SECONDS = 30.0
# A client that is refused may still be sending: closed at once, it would be reset before it has read why.
LINGER_SECONDS = 2.0
LINGER_BYTES_MAX = 1024 * 1024


class BoundedConnection(HttpToolsProtocol):
    """One client's connection; `check` is called once a second."""

    def __init__(self, connections: Connections, **server: Any) -> None:
        super().__init__(**server)
        self._connections = connections
        self._received, self._parsed = b"", 0
        self._begun: float | None = None  # when the first byte of what is incomplete came
        self._in_header = True
        self._header_bytes = 0
        self._wrong: type[PaybellError] | None = None  # with what is being parsed
        self._refusal: type[PaybellError] | None = None
        self._ended = False
        self._ahead = 0
        self._running: RequestResponseCycle | None = None
        self._unread, self._unread_since = 0, 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; a connection too many is told so and closed."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(UNREAD_BYTES_MAX)
        self.flow = _Flow(transport, self)
        self.timeout_keep_alive_task = self.loop.call_later(HEADER_SECONDS, self.timeout_keep_alive_handler)
        self._unread_since = self.loop.time()
        if not self._connections.opened(self._unread_since):
            self._refuse(TooManyConnections)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        if self._running is not None:  # the server knows the last request only
            self._running.disconnected = True
            self._running.message_event.set()
        self.pipeline.clear()
        self._received = b""
        self._connections.closed()

    def data_received(self, data: bytes) -> None:
        """Parse what came, as far as the requests before it are answered."""
        self._unset_keepalive_if_required()
        if self._begun is None:
            self._begun = self.loop.time()
        if self._ended:
            self._parsed += len(data)
            if self._parsed > LINGER_BYTES_MAX:
                self.transport.close()
            return
        self._received, self._parsed = self._received[self._parsed :] + data, 0
        self.parse()

    def may_read(self) -> bool:
        """Say whether the client's next bytes are wanted."""
        return self._ended or (not self.pipeline and self._refusal is None)

    def parse(self) -> None:
        """Parse, piece by piece, until a request has to wait for the answer of another."""
        while self._parsed < len(self._received) and not self.flow.read_paused and self.parser is not None:
            piece = memoryview(self._received)[self._parsed : self._parsed + PIECE_BYTES]
            self._parsed += len(piece)
            self._header_bytes += len(piece)
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade:
                pass  # to nothing we know; it is answered as if it had not asked
            except httptools.HttpParserError:
                self._refuse(self._wrong or MalformedRequest)
            else:
                if self._header_bytes > HEADER_BYTES_MAX:
                    self._refuse(HeadersTooLarge)

    def on_message_begin(self) -> None:
        """Begin with a request."""
        super().on_message_begin()
        self._begun = self.loop.time()
        self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the request line."""
        super().on_url(url)
        self._insist(len(self.url) <= REQUEST_LINE_BYTES_MAX, RequestTooLong)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; one that comes after the body would come too late for everybody."""
        if self._in_header:
            super().on_header(name, value)
            self._insist(len(self.headers) <= HEADERS_MAX, HeadersTooLarge)

    def on_headers_complete(self) -> None:
        """Answer the request, or let it wait."""
        super().on_headers_complete()
        self._in_header = False
        self._begun = self.loop.time()
        self._header_bytes = 0

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        super().on_body(body)
        self._header_bytes = 0

    def on_message_complete(self) -> None:
        """Be done with reading a request."""
        super().on_message_complete()
        self._in_header = True
        self._begun = None

    def on_response_complete(self) -> None:
        """Go on with the request that waits, with what is not parsed yet, or with nothing for a while."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._ahead += 1
            if self._ahead <= AHEAD_AT_ONCE:
                self._start_waiting()
            else:
                self.loop.call_later(AHEAD_PAUSE_SECONDS, self._start_waiting)
            return
        if self._refusal is not None:
            self._end(self._refusal)
            return
        if self._parsed == len(self._received):
            self._ahead = 0
        self.flow.resume_reading()
        if self.cycle.response_complete and self._begun is None:
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _start_waiting(self) -> None:
        if self.pipeline and not self.transport.is_closing():
            self._start_asgi_task(*self.pipeline.pop())
            self.flow.resume_reading()

    def check(self, now: float) -> None:
        """End what takes too long."""
        unread = self.transport.get_write_buffer_size()
        if unread <= self._unread // 2:
            self._unread, self._unread_since = unread, now
        elif now - self._unread_since > UNREAD_SECONDS:
            self._connections.refused("unread_answers")
            self.transport.abort()
            return
        self._unread = max(self._unread, unread)
        if self._begun is None or self._ended or self.transport.is_closing():
            return
        if self.flow.read_paused:  # it waits for us
            self._begun = now
        elif now - self._begun > (HEADER_SECONDS if self._in_header else BODY_SECONDS):
            self._refuse(RequestTimeout)

    def _insist(self, fine: bool, wrong: type[PaybellError]) -> None:
        if not fine:
            self._wrong = wrong
            raise ValueError  # for the parser, which stops

    def _refuse(self, refusal: type[PaybellError]) -> None:
        """Read nothing more; say why and close, once the requests before are answered."""
        self._refusal, self._received, self._parsed = refusal, b"", 0
        self._connections.refused(refusal.code)
        self.flow.pause_reading()
        if not self._in_header and self.pipeline:
            self.pipeline.popleft()  # the very request, which nobody has seen
        elif not self._in_header or self.cycle is None or self.cycle.response_complete:
            self._end(refusal)

    def _end(self, refusal: type[PaybellError]) -> None:
        if self._in_header or not self.cycle.response_started:
            self.transport.write(refusal_answer(refusal))
        if not self._in_header:
            self.cycle.disconnected = True  # what it is answered now would be the second answer
            self.cycle.message_event.set()
        if refusal is TooManyConnections:
            self.transport.close()
            return
        self.transport.write_eof()
        self._ended = True
        self.flow.resume_reading()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)


class _Flow(FlowControl):
    """Lets the client go on only when its requests so far are answered."""

    def __init__(self, transport: asyncio.Transport, connection: BoundedConnection) -> None:
        super().__init__(transport)
        self._connection = connection

    def resume_reading(self) -> None:
        if self.read_paused and self._connection.may_read():
            super().resume_reading()
            self._connection.parse()
