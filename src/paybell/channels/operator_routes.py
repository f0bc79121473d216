"""Routes of attempts for operators, who settle by hand what nobody knows."""

from typing import Annotated, Literal

import msgspec
from litestar import Router, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, JSONBody, QueryParameter
from msgspec import Meta

from paybell.channels.attempt import AttemptState
from paybell.channels.errors import (
    NothingAsked,
    NothingToSettle,
    ReceiptTaken,
    SecondPersonNeeded,
    SettlementDiffers,
    UnknownAttempt,
)
from paybell.channels.inspection import Inspection, Need
from paybell.channels.operator_views import AttemptDetail, AttemptPage, Needs, detail_view, operator_view
from paybell.channels.problems import PROBLEMS
from paybell.channels.settling import Settlement, Settling
from paybell.channels.views import AttemptView, view
from paybell.clock import Clock
from paybell.errors import Busy, InsufficientScope, InvalidId, OutcomeUnknown
from paybell.ids import ID_MAX, parse_id
from paybell.messaging.outbox import Outbox
from paybell.storage import Database
from paybell.web.auth import Caller, scope, scopes_of
from paybell.web.errors import InvalidText
from paybell.web.fields import PathId
from paybell.web.refusals import WITH_A_BODY
from paybell.web.texts import check_text

PAGE_MAX = 100


class NewSettlement(msgspec.Struct, forbid_unknown_fields=True):
    """What has become of an attempt, by the channel's own records; ``reference`` is its number there.

    ``given_back``: its money came twice or late, the channel refused to give it back, and people did.
    """

    outcome: Literal["paid", "not_paid", "given_back"]
    note: Annotated[str, Meta(min_length=1, max_length=256)]
    reference: Annotated[str, Meta(max_length=255)] = ""


def operator_routes(database: Database, outbox: Outbox, clock: Clock, merchant_id: str) -> Router:
    """Return the routes of operators: of the house, because they show every merchant's attempts."""
    handlers = [*_reading(Inspection(database, clock)), *_settling(Settling(database, outbox))]
    return Router("/attempts", route_handlers=handlers, opt=scopes_of(merchant_id), tags=["operations"])


def _reading(inspection: Inspection) -> list[HTTPRouteHandler]:
    @get(
        "/",
        operation_id="listAttempts",
        summary="List attempts, newest first; with `need`, those that need a person for that reason",
        opt=scope("ops:read"),
        responses=PROBLEMS.refusals(InvalidId, InsufficientScope),
    )
    async def list_attempts(
        need: FromQuery[Need | None] = None,
        which: Annotated[AttemptState | None, QueryParameter(name="state")] = None,
        before: FromQuery[str | None] = None,
    ) -> AttemptPage:
        below = ID_MAX if before is None else parse_id(before)
        # One more than is shown says whether there is a next page.
        found = await inspection.list(need, which, below, PAGE_MAX + 1)
        shown = [operator_view(*one) for one in found[:PAGE_MAX]]
        following = shown[-1].attempt_id if len(found) > PAGE_MAX else None
        return AttemptPage(shown, following, Needs(**await inspection.counts()))

    @get(
        "/{attempt_id:str}",
        operation_id="readAttempt",
        summary="Read an attempt, what people have said of it, and its history",
        opt=scope("ops:read"),
        responses=PROBLEMS.refusals(InvalidId, InsufficientScope, UnknownAttempt),
    )
    async def read_attempt(attempt_id: PathId) -> AttemptDetail:
        return detail_view(await inspection.read(parse_id(attempt_id)))

    return [list_attempts, read_attempt]


def _settling(settling: Settling) -> list[HTTPRouteHandler]:
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
            ReceiptTaken,
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

    @post(
        "/{attempt_id:str}/settlements/withdraw",
        operation_id="withdrawSettlement",
        summary="Take back a settlement that was asked for and not confirmed, as anybody who may ask",
        status_code=200,
        opt=scope("ops:repair"),
        responses=PROBLEMS.refusals(
            InvalidId, InsufficientScope, UnknownAttempt, NothingAsked, OutcomeUnknown, Busy
        ),
    )
    async def withdraw_settlement(request: Caller, attempt_id: PathId) -> AttemptView:
        return view(await settling.withdraw(parse_id(attempt_id), request.user.user_id))

    return [settle_attempt, withdraw_settlement]
