"""Who is calling: bearer tokens, and the scope a route needs."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from litestar.connection import Request
from litestar.types import ASGIApp, Middleware, Receive, Scope, Send

from paybell.errors import NotAuthenticated
from paybell.tokens import Principal, Tokens
from paybell.tracecontext import trace_from
from paybell.web.openapi import QUERY
from paybell.web.queries import check_query

Caller = Request[Principal, Any, Any]


def authenticated(tokens: Tokens) -> Middleware:
    """Return what lets nobody through without a valid bearer token (RFC 6750) and the scope a route needs.

    A middleware and no guard: the framework copies the whole route handler for each guard it asks.
    """

    def wrap(app: ASGIApp) -> ASGIApp:
        async def authenticate(asgi_scope: Scope, receive: Receive, send: Send) -> None:
            caller = tokens.verify(bearer_of(asgi_scope["headers"]))
            needs = asgi_scope["route_handler"].opt
            if needs.get(_MERCHANT, caller.merchant_id) != caller.merchant_id:
                caller = replace(caller, scopes=frozenset())
            if name := needs.get(_SCOPE):
                caller.require(name)
            check_query(asgi_scope["query_string"], needs[QUERY])
            asgi_scope["user"] = caller
            await app(asgi_scope, receive, send)

        return authenticate

    return wrap


_SCOPE, _MERCHANT = "scope", "merchant"


def scope(name: str) -> dict[str, str]:
    """Return the ``opt`` of routes that insist on a scope of the token."""
    return {_SCOPE: name}


def scopes_of(merchant_id: str) -> dict[str, str]:
    """Return the ``opt`` of what belongs to one merchant: the scopes of others' tokens mean nothing there."""
    return {_MERCHANT: merchant_id}


def bearer_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the bearer token among the headers of a request.

    Raises:
        NotAuthenticated: there is none.
    """
    for name, value in headers:
        if name == b"authorization":
            kind, _, token = value.decode("latin-1").partition(" ")
            if kind.lower() == "bearer" and token.strip():
                return token.strip()
    raise NotAuthenticated


def trace_of(request: Caller) -> str:
    """Return the caller's W3C trace context, or a new one."""
    return trace_from(request.headers.get("traceparent", ""))
