"""What routes with an ``Idempotency-Key`` share."""

from typing import Annotated, TypeAlias

from litestar import Response
from litestar.params import HeaderParameter

from paybell.idempotency.keys import Answer
from paybell.web.bodies import JSON

IdempotencyHeader: TypeAlias = Annotated[
    str | None,
    HeaderParameter(name="Idempotency-Key", description="Needed: 1 to 255 printable ASCII characters."),
]


def replayable(answer: Answer, *, replayed: bool) -> Response[bytes]:
    """Return an answer, and say when it is the one of an earlier request."""
    headers = {"Idempotent-Replayed": "true"} if replayed else {}
    return Response(answer.body, status_code=answer.status, media_type=JSON, headers=headers)
