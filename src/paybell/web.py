"""What every HTTP route shares: who is calling, how bodies and ids are read, what may be refused."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Annotated, Any

import msgspec
from litestar.connection import Request
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import PathParameter, QueryParameter
from litestar.types import ASGIApp, Middleware, Receive, Scope, Send
from msgspec import Meta

from paybell.errors import (
    BodyTooLarge,
    DatabaseUnavailable,
    DuplicateField,
    InvalidAmount,
    InvalidId,
    InvalidRequest,
    InvalidText,
    MalformedJson,
    MissingField,
    NotAuthenticated,
    Overloaded,
    PaybellError,
    UnknownCurrency,
    UnknownField,
    UnsupportedMediaType,
)
from paybell.ids import new_traceparent, parse_id
from paybell.money import AMOUNT_MAX
from paybell.tokens import Principal, Tokens

Caller = Request[Principal, Any, Any]

PROBLEM_JSON = "application/problem+json"
JSON = "application/json"

# Patterns are read by Python here and by JavaScript in OpenAPI's readers: $(?!\n) is the very end in both.
# Users' and merchants' names: opaque, but nothing that needs escaping anywhere.
USER_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$(?!\n)"
UserId = Annotated[str, Meta(pattern=USER_ID_PATTERN, description="1 to 64 letters, digits, . _ @ -")]
Id = Annotated[str, Meta(pattern=r"^[0-9]{1,19}$(?!\n)", description="From 1 to 9223372036854775807.")]
Amount = Annotated[int, Meta(ge=1, le=AMOUNT_MAX, description="Whole minor units.")]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)", description="A code of ISO 4217.")]
Subject = Annotated[str, Meta(max_length=256, description="What is paid for, shown to people.")]
READ_MAX = 200
# In paths; checked by `parse_id` and `check_user_id`, whose refusals have a code of their own.
PathId = Annotated[
    str,
    PathParameter(description="From 1 to 9223372036854775807.", schema_extra={"pattern": "^[0-9]{1,19}$"}),
]
PathUserId = Annotated[
    str,
    PathParameter(description="1 to 64 letters, digits, . _ @ -", schema_extra={"pattern": USER_ID_PATTERN}),
]
_USER_ID = re.compile(USER_ID_PATTERN)
# Controls, line separators, what turns the direction of other text, unpaired surrogates, no characters.
_NOT_TEXT = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
# W3C Trace Context, version 00: lower-case hex, and neither id all zero.
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")


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


# Bodies ----------------------------------------------------------------------------------------

# What is wrong with one of these members has a code of its own.
_OWN_CODES: Mapping[str, type[InvalidRequest]] = {
    "amount": InvalidAmount,
    "totalFee": InvalidAmount,
    "currency": UnknownCurrency,
    "bizOrderNo": InvalidId,
    "orderId": InvalidId,
}
_MISSING = re.compile(r"Object missing required field `(.+)`\Z")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`\Z", re.DOTALL)
_WRONG = re.compile(r"(.*) - at `\$\.(\w+)`\Z", re.DOTALL)
_NAME_MAX = 64


class JsonRequest(Request[Any, Any, Any]):
    """Reads a body once, strictly, straight into the type its route asks for.

    The framework's own way is lenient: "100" and 100.0 would pass for 100.
    """

    async def json(self) -> Any:
        """Return the body as the route's ``data``.

        Raises:
            UnsupportedMediaType: it does not say that it is JSON. InvalidRequest: it is not of the form.
        """
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != JSON:
            raise UnsupportedMediaType
        field = self.route_handler.parsed_data_field
        assert field is not None, "only routes with data read a body"
        return read_body(await self.body(), field.annotation)


@cache
def _decoder(wanted: Any) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(wanted)


def read_body(body: bytes, wanted: Any) -> Any:
    """Decode a flat JSON object.

    Raises:
        InvalidRequest: which member is wrong, and why; never its value, which may be a secret.
    """
    try:
        data = _decoder(wanted).decode(body)
        _DISTINCT.decode(body.decode())
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise MalformedJson from None
    return data


def _distinct(members: list[tuple[str, object]]) -> None:
    names = set()
    for name, _ in members:
        if name in names:
            raise DuplicateField(f"The member {name} stands in the body twice.", field=name)
        names.add(name)


_DISTINCT = json.JSONDecoder(object_pairs_hook=_distinct)


def _invalid(complaint: str) -> InvalidRequest:
    if match := _MISSING.match(complaint):
        return MissingField(f"The member {match[1]} is missing.", field=match[1])
    if match := _UNKNOWN.match(complaint):
        name = "".join(character for character in match[1][:_NAME_MAX] if character.isprintable())
        return UnknownField(f"The body has a member {name}, which is not documented.", field=name)
    if match := _WRONG.match(complaint):
        problem, name = match[1].replace(r"$(?!\n)", "$"), match[2]
        if own := _OWN_CODES.get(name):
            return own(f"{own.detail.rstrip('.')} ({name}: {problem}).", field=name)
        return InvalidRequest(f"{name}: {problem}.", field=name)
    return InvalidRequest(f"{complaint}.")


# Ids and texts ---------------------------------------------------------------------------------


def trace_of(request: Caller) -> str:
    """Return the caller's W3C trace context, or a new one."""
    return trace_from(request.headers.get("traceparent", ""))


def trace_from(given: str) -> str:
    """Return a W3C trace context as it was given, or a new one if it is none."""
    return given if _TRACEPARENT.match(given) else new_traceparent()


def trace_id_of(traceparent: str) -> str:
    """Return the trace's id in a W3C trace context; empty if it is none."""
    return traceparent[3:35] if _TRACEPARENT.match(traceparent) else ""


def id_list(name: str) -> QueryParameter:
    """Return the query parameter of routes that read many at once."""
    return QueryParameter(
        name=name, max_length=20 * READ_MAX, description=f"Up to {READ_MAX} ids, separated by commas."
    )


def read_id(text: str, field: str) -> int:
    """Read the id in a member of a body.

    Raises:
        InvalidId: it is none.
    """
    try:
        return parse_id(text)
    except InvalidId:
        raise InvalidId(field=field) from None


def parse_ids(text: str, field: str) -> list[int]:
    """Read a list of ids, separated by commas, out of a query parameter.

    Raises:
        InvalidRequest: more than `READ_MAX`. InvalidId: one is none.
    """
    parts = text.split(",")
    if len(parts) > READ_MAX:
        raise InvalidRequest(f"{field}: at most {READ_MAX} ids at a time.", field=field)
    return [read_id(part, field) for part in parts]


def check_user_id(text: str) -> str:
    """Return a user id out of a path.

    Raises:
        InvalidId: it has not the form of one.
    """
    if not _USER_ID.match(text):
        raise InvalidId("A user id has 1 to 64 letters, digits, dots, underscores, @ or hyphens.")
    return text


def check_text(text: str, field: str = "subject") -> str:
    """Return a text for people, in any language.

    Raises:
        InvalidText: it holds control characters or the like.
    """
    if _NOT_TEXT.search(text):
        raise InvalidText(field=field)
    return text


# What is documented of refusals ----------------------------------------------------------------


class Problem(msgspec.Struct):
    """A problem document (RFC 9457); ``code`` is stable, ``detail`` is for people, in their language."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    field: str | msgspec.UnsetType = msgspec.UNSET


EVERYWHERE: tuple[type[PaybellError], ...] = (NotAuthenticated, DatabaseUnavailable, Overloaded)
WITH_A_BODY: tuple[type[PaybellError], ...] = (
    InvalidRequest,
    MalformedJson,
    MissingField,
    UnknownField,
    DuplicateField,
    BodyTooLarge,
    UnsupportedMediaType,
)


def refusals(*kinds: type[PaybellError]) -> dict[int, ResponseSpec]:
    """Return OpenAPI's description of what a route may refuse with, by status."""
    by_status: dict[int, list[type[PaybellError]]] = {}
    for kind in (*kinds, *EVERYWHERE):
        by_status.setdefault(kind.status, []).append(kind)
    return {
        status: ResponseSpec(
            data_container=Problem,
            description=" ".join(f"`{kind.code}`: {kind.detail}" for kind in group),
            media_type=PROBLEM_JSON,
            generate_examples=False,
            examples=[Example(id=kind.code, summary=kind.detail, value=problem_of(kind)) for kind in group],
        )
        for status, group in by_status.items()
    }


def problem_of(kind: type[PaybellError], detail: str | None = None) -> dict[str, object]:
    """Return the members every problem document of this kind has."""
    return {
        "type": f"urn:paybell:problem:{kind.code}",
        "title": kind.code.replace("_", " ").capitalize(),
        "status": kind.status,
        "code": kind.code,
        "detail": detail or kind.detail,
    }
