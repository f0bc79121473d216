"""What every answer says of itself: the API's version, and the request's id, which our log lines have too."""

import re
from typing import Any, cast

import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from paybell.ids import new_traceparent
from paybell.tracecontext import trace_id_of

# Today's paths are version 1 and stay; what breaks them gets paths of its own.
VERSION = (b"paybell-version", b"1")
_REQUEST_ID = b"x-request-id"
# Nothing that a log or a header would have to escape.
_SANE = re.compile(rb"[A-Za-z0-9._~:+/=@-]{1,128}")


def request_id_of(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the caller's X-Request-Id if it is a sane one, else its trace's id, else a new one."""
    given = dict(headers)
    if _SANE.fullmatch(given.get(_REQUEST_ID, b"")):
        return given[_REQUEST_ID]
    trace_id = trace_id_of(given.get(b"traceparent", b"").decode("latin-1"))
    return (trace_id or trace_id_of(new_traceparent())).encode()


def identity_of(request_id: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers that every answer has."""
    return [VERSION, (_REQUEST_ID, request_id)]


def identified(app: ASGIApp) -> ASGIApp:
    """Return an ASGI application whose answers and log lines carry the request's id."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        request_id = request_id_of(cast("Any", scope["headers"]))
        structlog.contextvars.bind_contextvars(request_id=request_id.decode())

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *identity_of(request_id)]
            await send(message)

        await app(scope, receive, note)

    return answer
