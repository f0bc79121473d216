"""What routes with an ``Idempotency-Key`` share."""

from typing import Annotated, TypeAlias

import msgspec
from litestar import Response
from litestar.params import HeaderParameter

from paybell.idempotency.keys import IdempotencyKey, KeptAnswer
from paybell.web.auth import Caller
from paybell.web.bodies import JSON
from paybell.web.openapi import IDEMPOTENCY_KEY

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


def replayable(answer: KeptAnswer, *, replayed: bool) -> Response[bytes]:
    """Return an answer, and say when it is the one of an earlier request."""
    headers = {"Idempotent-Replayed": "true"} if replayed else {}
    return Response(answer.body, status_code=answer.status, media_type=JSON, headers=headers)
