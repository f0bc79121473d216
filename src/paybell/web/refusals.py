"""Problem documents (RFC 9457), and how OpenAPI describes what a route may refuse with."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example

from paybell.clock import rfc3339
from paybell.errors import (
    DatabaseBusy,
    DatabaseUnavailable,
    InvalidRequest,
    InvalidToken,
    NotAuthenticated,
    Overloaded,
    PaybellError,
)
from paybell.web.errors import (
    BodyTooLarge,
    DuplicateField,
    HeadersTooLarge,
    InvalidText,
    MalformedJson,
    MissingField,
    RequestTooLong,
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


@dataclass
class _Example(Example):
    """An example whose id is its name among the others, and no member of it."""

    @property
    def _exclude_fields(self) -> set[str]:
        return {"id"}


EVERYWHERE: tuple[type[PaybellError], ...] = (
    UnknownField,
    InvalidText,
    NotAuthenticated,
    InvalidToken,
    DatabaseUnavailable,
    DatabaseBusy,
    Overloaded,
    RequestTooLong,
    HeadersTooLarge,
)
WITH_A_BODY: tuple[type[PaybellError], ...] = (
    InvalidRequest,
    MalformedJson,
    MissingField,
    UnknownField,
    DuplicateField,
    BodyTooLarge,
    UnsupportedMediaType,
)


@dataclass(frozen=True, slots=True)
class ProblemType:
    """How an error is answered: its HTTP status and its sentence in Chinese; the English one is its own."""

    status: int
    chinese: str


class ProblemTypes:
    """How each kind of error is answered; one that is not listed is answered as its base class is."""

    def __init__(self, types: Mapping[type[PaybellError], ProblemType]) -> None:
        self._types = types

    def __or__(self, more: "ProblemTypes | Mapping[type[PaybellError], ProblemType]") -> "ProblemTypes":
        """Return these and those of somebody else."""
        return ProblemTypes({**self._types, **(more._types if isinstance(more, ProblemTypes) else more)})

    def __iter__(self) -> Iterator[type[PaybellError]]:
        """Go through the kinds of error."""
        return iter(self._types)

    def __getitem__(self, kind: type[PaybellError]) -> ProblemType:
        """Return how this kind is answered."""
        return next(self._types[base] for base in kind.__mro__ if base in self._types)

    def document(self, kind: type[PaybellError], detail: str | None = None) -> dict[str, object]:
        """Return the members every problem document of this kind has."""
        return {
            "type": f"urn:paybell:problem:{kind.code}",
            "title": kind.code.replace("_", " ").capitalize(),
            "status": self[kind].status,
            "code": kind.code,
            "detail": detail or kind.detail,
        }

    def problem(self, error: PaybellError, *, chinese: bool) -> dict[str, object]:
        """Return the problem document of one error, in English or Chinese."""
        document = self.document(type(error), self._chinese(error) if chinese else error.message)
        return document | {name: _plain(value) for name, value in error.extensions.items()}

    def _chinese(self, error: PaybellError) -> str:
        sentence, field = self[type(error)].chinese, error.extensions.get("field")
        return f"{sentence}（{field}）" if field else sentence

    def refusals(self, *kinds: type[PaybellError]) -> dict[int, ResponseSpec]:
        """Return OpenAPI's description of what a route may refuse with, by status."""
        by_status: dict[int, list[type[PaybellError]]] = {}
        for kind in dict.fromkeys((*kinds, *EVERYWHERE)):
            by_status.setdefault(self[kind].status, []).append(kind)
        return {
            status: ResponseSpec(
                data_container=Problem,
                description=" ".join(f"`{kind.code}`: {kind.detail}" for kind in group),
                media_type=PROBLEM_JSON,
                generate_examples=False,
                examples=[
                    _Example(id=kind.code, summary=kind.detail, value=self.document(kind)) for kind in group
                ],
            )
            for status, group in by_status.items()
        }


def _plain(value: object) -> object:
    return rfc3339(value) if isinstance(value, datetime) else value
