"""What every HTTP route shares: who is calling, what the token must allow, the forms of ids."""

import re
from typing import Annotated, Any

from litestar.connection import ASGIConnection, Request
from litestar.handlers import BaseRouteHandler
from litestar.params import Parameter
from litestar.types import Guard
from msgspec import Meta

from paybell.errors import InvalidRequest, NotAuthenticated
from paybell.ids import new_traceparent, parse_id
from paybell.tokens import Principal, Tokens

Connection = ASGIConnection[Any, Any, Any, Any]
Caller = Request[Principal, Any, Any]

# Users' and merchants' names: opaque, but nothing that needs escaping anywhere.
USER_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z"
UserId = Annotated[str, Meta(pattern=USER_ID_PATTERN, description="1 to 64 letters, digits, . _ @ -")]
Subject = Annotated[str, Meta(max_length=256, description="What is paid for, shown to people.")]
READ_MAX = 200
IdList = Annotated[
    str, Parameter(max_length=20 * READ_MAX, description=f"Up to {READ_MAX} ids, separated by commas.")
]
_USER_ID = re.compile(USER_ID_PATTERN)
# W3C Trace Context, version 00: lower-case hex, and neither id all zero.
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")


def authenticated(tokens: Tokens) -> Guard:
    """Return a guard that lets nobody through without a valid bearer token (RFC 6750)."""

    def guard(connection: Connection, _: BaseRouteHandler) -> None:
        kind, _space, token = connection.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise NotAuthenticated
        connection.scope["user"] = tokens.verify(token.strip())

    return guard


def scope(name: str) -> Guard:
    """Return a guard that insists on a scope of the token."""

    def guard(connection: Connection, _: BaseRouteHandler) -> None:
        caller: Principal = connection.user
        caller.require(name)

    return guard


def trace_of(request: Caller) -> str:
    """Return the caller's W3C trace context, or a new one."""
    given = request.headers.get("traceparent", "")
    return given if _TRACEPARENT.match(given) else new_traceparent()


def parse_ids(text: str) -> list[int]:
    """Read a list of ids separated by commas.

    Raises:
        InvalidRequest: more than `READ_MAX`, or one is no id.
    """
    parts = text.split(",")
    if len(parts) > READ_MAX:
        raise InvalidRequest(f"At most {READ_MAX} ids at a time.")
    return [parse_id(part) for part in parts]


def check_user_id(text: str) -> str:
    """Return a user id out of a path.

    Raises:
        InvalidRequest: it has not the form of one.
    """
    if not _USER_ID.match(text):
        raise InvalidRequest("A user id has 1 to 64 letters, digits, dots, underscores, @ or hyphens.")
    return text


def check_text(text: str) -> str:
    """Return a text for people.

    Raises:
        InvalidRequest: it holds control characters or unpaired surrogates.
    """
    if not text.isprintable():
        raise InvalidRequest("Text must not hold control characters.")
    return text
