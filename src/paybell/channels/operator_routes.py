"""Routes of attempts for operators, who settle by hand what nobody knows."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Router, get, post
from litestar.params import FromQuery, JSONBody
from msgspec import Meta

from paybell.channels.attempt import AttemptState
from paybell.channels.errors import (
    NothingToSettle,
    SecondPersonNeeded,
    SettlementDiffers,
    UnknownAttempt,
)
from paybell.channels.problems import PROBLEMS
from paybell.channels.routes import AttemptList, AttemptView, view
from paybell.channels.settling import Settlement, Settling
from paybell.errors import (
    Busy,
    InsufficientScope,
    InvalidId,
    OutcomeUnknown,
)
from paybell.ids import ID_MAX, parse_id
from paybell.web.auth import Caller, scope, scopes_of
from paybell.web.errors import InvalidText
from paybell.web.fields import PathId
from paybell.web.refusals import WITH_A_BODY
from paybell.web.texts import check_text

PAGE_MAX = 200


class SettlementView(msgspec.Struct, rename="camel"):
    """What people have said of an attempt: one asks, another one confirms."""

    outcome: Literal["paid", "not_paid"]
    reference: str
    note: str
    asked_by: str
    asked_at: datetime
    confirmed_by: str | None
    confirmed_at: datetime | None


class AttemptDetail(msgspec.Struct, rename="camel"):
    """An attempt as operators see it."""

    attempt: AttemptView
    transaction_id: str | None
    detail: str
    queries: int
    next_query_at: datetime | None
    settlement: SettlementView | None


class NewSettlement(msgspec.Struct, forbid_unknown_fields=True):
    """What has become of an attempt, by the channel's own records; ``reference`` is its number there."""

    outcome: Literal["paid", "not_paid"]
    note: Annotated[str, Meta(min_length=1, max_length=256)]
    reference: Annotated[str, Meta(max_length=255)] = ""


def _settlement(row: Mapping[str, Any]) -> SettlementView:
    return SettlementView(**{name: row[name] for name in SettlementView.__struct_fields__})


def operator_routes(settling: Settling, merchant_id: str) -> Router:
    """Return the routes of operators."""

    @get(
        "/",
        operation_id="listAttempts",
        summary="List attempts, newest first",
        opt=scope("ops:read"),
        responses=PROBLEMS.refusals(InvalidId, InsufficientScope),
    )
    async def list_attempts(
        attempt_state: FromQuery[AttemptState | None] = None, before: FromQuery[str | None] = None
    ) -> AttemptList:
        after = ID_MAX if before is None else parse_id(before)
        return AttemptList([view(one) for one in await settling.list(attempt_state, after, PAGE_MAX)])

    @get(
        "/{attempt_id:str}",
        operation_id="readAttempt",
        summary="Read an attempt and what people have said of it",
        opt=scope("ops:read"),
        responses=PROBLEMS.refusals(InvalidId, InsufficientScope, UnknownAttempt),
    )
    async def read_attempt(attempt_id: PathId) -> AttemptDetail:
        attempt, settlement = await settling.read(parse_id(attempt_id))
        return AttemptDetail(
            attempt=view(attempt),
            transaction_id=attempt.transaction_id,
            detail=attempt.detail,
            queries=attempt.queries,
            next_query_at=attempt.next_query_at,
            settlement=None if settlement is None else _settlement(settlement),
        )

    @post(
        "/{attempt_id:str}/settlements",
        operation_id="settleAttempt",
        summary="Settle an attempt by hand: ask for it, or confirm it as a second person",
        status_code=200,
        opt=scope("ops:repair"),
        responses=PROBLEMS.refusals(
            *WITH_A_BODY,
            InvalidId,
            InvalidText,
            InsufficientScope,
            UnknownAttempt,
            NothingToSettle,
            SecondPersonNeeded,
            SettlementDiffers,
            OutcomeUnknown,
            Busy,
        ),
    )
    async def settle_attempt(
        request: Caller, attempt_id: PathId, data: JSONBody[NewSettlement]
    ) -> AttemptView:
        wanted = Settlement(
            data.outcome,
            check_text(data.reference, "reference"),
            check_text(data.note, "note"),
            request.user.user_id,
        )
        attempt, _ = await settling.settle(parse_id(attempt_id), wanted)
        return view(attempt)

    handlers = [list_attempts, read_attempt, settle_attempt]
    return Router("/attempts", route_handlers=handlers, opt=scopes_of(merchant_id), tags=["operations"])
