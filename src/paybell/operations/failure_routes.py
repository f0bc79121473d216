"""Routes of the console about failed deliveries: ``ops:read`` shows them, ``ops:repair`` redelivers them."""

from base64 import b64encode
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, JSONBody, QueryParameter
from msgspec import Meta

from paybell.errors import InsufficientScope, InvalidId, InvalidRequest
from paybell.ids import parse_id
from paybell.messaging.failures import REPLAY_MAX, Chosen, FailedDelivery, FailureState, KeptDelivery
from paybell.operations.bodies import readable
from paybell.operations.desk import OperatorDesk
from paybell.operations.errors import FailureNotFound
from paybell.operations.problems import PROBLEMS
from paybell.web.auth import Caller, scope
from paybell.web.errors import InvalidText
from paybell.web.fields import PathId, id_list, parse_ids
from paybell.web.queries import check_moment
from paybell.web.refusals import WITH_A_BODY
from paybell.web.texts import check_optional

PAGE_MAX = 100


class FailureView(msgspec.Struct, rename="camel"):
    """A delivery no listener could apply; ``state`` is ``dead``, ``retry`` or ``acknowledged``."""

    id: str
    listener: str
    event_id: str
    state: FailureState
    reason: str
    attempts: int
    received: int
    first_failed_at: datetime
    last_failed_at: datetime
    due_at: datetime | None


class FailureDetail(FailureView):
    """The same with its words: ``text`` is the body where it is text, ``base64`` always."""

    error: str
    headers: dict[str, Any]
    content_type: str
    text: str | None
    base64: str


class FailureGroup(msgspec.Struct, rename="camel"):
    """How many deliveries failed for one reason, and since when."""

    state: FailureState
    listener: str
    reason: str
    rows: int
    since: datetime


class FailurePage(msgspec.Struct, rename="camel"):
    """Some failures, oldest first; ``next`` asks for those after them."""

    failures: list[FailureView]
    groups: list[FailureGroup]
    next: str | None


class Replay(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Which dead letters: by number, or by reason and listener, or (nothing said) all.

    What died after ``until`` is left: whoever asks again until nothing is left says when they began.
    """

    ids: str | None = None
    reason: Annotated[str, Meta(max_length=255)] | None = None
    listener: Annotated[str, Meta(max_length=255)] | None = None
    until: datetime | None = None
    most: Annotated[int, Meta(ge=1, le=REPLAY_MAX)] = 100


class AcknowledgedFailures(msgspec.Struct, rename="camel"):
    """How many were given up now; 0: none was left."""

    acknowledged: int


class Replayed(msgspec.Struct, rename="camel"):
    """How many were handed to their listeners now, and the action that notes it; 0: none was left."""

    replayed: int
    action: str | None


class Outcome(msgspec.Struct, rename="camel"):
    """What came of deliveries that were replayed; a listener may be busy with those that wait."""

    applied: int
    waiting: int
    failed_again: int


def failure_handlers(desk: OperatorDesk) -> list[HTTPRouteHandler]:
    """Return the routes under ``/ops/failures``."""
    return [*_reading(desk), *_acting(desk)]


def _reading(desk: OperatorDesk) -> list[HTTPRouteHandler]:
    @get(
        "/failures",
        operation_id="readFailures",
        summary="Deliveries that could not be applied",
        responses=PROBLEMS.refusals(InsufficientScope, InvalidId, InvalidRequest),
    )
    async def failures(
        which: Annotated[FailureState, QueryParameter(name="state")] = "dead",
        reason: FromQuery[str | None] = None,
        listener: FromQuery[str | None] = None,
        after: Annotated[str, QueryParameter(description="`next` of the page before.")] = "",
    ) -> FailurePage:
        chosen = Chosen(reason=reason, listener=listener)
        begin = parse_id(after) if after else 0
        rows = await desk.failures.list(chosen, state=which, after=begin, limit=PAGE_MAX)
        following = str(rows[-1].id) if len(rows) == PAGE_MAX else None
        groups = [FailureGroup(**asdict(one)) for one in await desk.failures.groups()]
        return FailurePage([_view(row) for row in rows], groups, following)

    @get(
        "/failures/{failure_id:str}",
        operation_id="readFailure",
        summary="One of them with its error, headers and body",
        responses=PROBLEMS.refusals(InsufficientScope, InvalidId, FailureNotFound),
    )
    async def failure(failure_id: PathId) -> FailureDetail:
        found = await desk.failures.find(parse_id(failure_id))
        if found is None:
            raise FailureNotFound
        return _detail(found)

    return [failures, failure]


def _acting(desk: OperatorDesk) -> list[HTTPRouteHandler]:
    acting = PROBLEMS.refusals(*WITH_A_BODY, InsufficientScope, InvalidId, InvalidText)

    @post(
        "/failures/replay",
        operation_id="replayFailures",
        summary="Hand dead letters to their listeners again; ask again until none is left",
        status_code=200,
        opt=scope("ops:repair"),
        responses=acting,
    )
    async def replay(request: Caller, data: JSONBody[Replay]) -> Replayed:
        who = request.user.user_id
        rows, action = await desk.failures.replay_noted(_chosen(data), who, limit=data.most)
        return Replayed(rows, None if action is None else str(action))

    @get(
        "/failures/outcome",
        operation_id="readReplayOutcome",
        summary="What came of replays, by the actions that note them",
        responses=PROBLEMS.refusals(InsufficientScope, InvalidId, InvalidRequest),
    )
    async def outcome(
        actions: Annotated[str, id_list("actions")],
    ) -> Outcome:
        return Outcome(**asdict(await desk.failures.outcome(parse_ids(actions, "actions"))))

    @post(
        "/failures/acknowledge",
        operation_id="acknowledgeFailures",
        summary="Give dead letters up: they count no more, and are removed after a time",
        status_code=200,
        opt=scope("ops:repair"),
        responses=acting,
    )
    async def acknowledge(request: Caller, data: JSONBody[Replay]) -> AcknowledgedFailures:
        done = await desk.failures.acknowledge(_chosen(data), request.user.user_id, limit=data.most)
        return AcknowledgedFailures(done)

    return [replay, outcome, acknowledge]


def _chosen(data: Replay) -> Chosen:
    ids = None if data.ids is None else parse_ids(data.ids, "ids")
    until = None if data.until is None else check_moment(data.until, "until")
    reason, listener = check_optional(data.reason, "reason"), check_optional(data.listener, "listener")
    return Chosen(ids, reason, listener, until)


def _view(failure: FailedDelivery) -> FailureView:
    return FailureView(**_common(failure))


def _common(failure: FailedDelivery) -> dict[str, Any]:
    names = FailureView.__struct_fields__
    return {name: getattr(failure, name) for name in names} | {"id": str(failure.id)}


def _detail(failure: KeptDelivery) -> FailureDetail:
    return FailureDetail(
        **_common(failure),
        error=failure.error,
        headers=failure.headers,
        content_type=failure.content_type,
        text=readable(failure.body),
        base64=b64encode(failure.body).decode(),
    )
