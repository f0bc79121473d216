"""What routes share that may be asked for the same twice: by an ``Idempotency-Key`` or an id of one's own."""

from typing import Annotated, TypeAlias, TypeVar

import msgspec
from litestar import Response
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter

from paybell.idempotency.errors import IdempotencyKeyInUse, IdempotencyKeyMissing, IdempotencyKeyReused
from paybell.idempotency.keys import IdempotencyKey, KeptAnswer
from paybell.web.auth import Caller
from paybell.web.bodies import JSON
from paybell.web.openapi import IDEMPOTENCY_KEY

View = TypeVar("View", bound=msgspec.Struct)
WITH_A_KEY = (IdempotencyKeyMissing, IdempotencyKeyInUse, IdempotencyKeyReused)
IdempotencyHeader: TypeAlias = Annotated[
    str | None,
    HeaderParameter(name=IDEMPOTENCY_KEY, description="Needed: 1 to 255 printable ASCII characters."),
]


def read_key(
    request: Caller, route: str, header: str | None, body: msgspec.Struct, former_caller: str | None = None
) -> IdempotencyKey:
    """Return the key of a request to a route, bound to its caller's merchant and to what it asks for.

    Raises:
        IdempotencyKeyMissing: the header is missing, or not 1 to 255 printable ASCII characters.
    """
    return IdempotencyKey.of(
        request.user.merchant_id, route, header, msgspec.json.encode(body), former_caller
    )


def same_again(view: type[View]) -> dict[int, ResponseSpec]:
    """Describe the answer to whoever creates what is there already, just as asked for."""
    return {200: ResponseSpec(view, description="The same again", generate_examples=False)}


def created_or_same(view: View, *, created: bool) -> Response[View]:
    """Return what was created now, or was there."""
    return Response(view, status_code=201 if created else 200)


def done_once(view: type[View]) -> dict[int, ResponseSpec]:
    """Describe the answer that is kept for a key."""
    return {201: ResponseSpec(view, description="Done, now or before", generate_examples=False)}


def kept(view: View) -> KeptAnswer:
    """Make the answer that is kept for a key."""
    return KeptAnswer(201, msgspec.json.encode(view))


def replayable(answer: KeptAnswer, *, replayed: bool) -> Response[bytes]:
    """Return an answer, and say when it is the one of an earlier request."""
    headers = {"Idempotent-Replayed": "true"} if replayed else {}
    return Response(answer.body, status_code=answer.status, media_type=JSON, headers=headers)
