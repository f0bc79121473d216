"""Problem documents (RFC 9457), and how OpenAPI describes what a route may refuse with."""

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example

from paybell.errors import (
    BodyTooLarge,
    DatabaseBusy,
    DatabaseUnavailable,
    DuplicateField,
    InvalidRequest,
    MalformedJson,
    MissingField,
    NotAuthenticated,
    Overloaded,
    PaybellError,
    UnknownField,
    UnsupportedMediaType,
)

PROBLEM_JSON = "application/problem+json"


class Problem(msgspec.Struct):
    """A problem document (RFC 9457); ``code`` is stable, ``detail`` is for people, in their language."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    field: str | msgspec.UnsetType = msgspec.UNSET


EVERYWHERE: tuple[type[PaybellError], ...] = (NotAuthenticated, DatabaseUnavailable, DatabaseBusy, Overloaded)
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
