"""Routes of the operations console about both sides' books: scopes ``ops:read`` and ``ops:repair``."""

from datetime import timedelta
from typing import Annotated

import msgspec
from litestar import Router, post
from litestar.params import JSONBody
from litestar.response import Stream
from msgspec import Meta

from paybell.clock import Clock
from paybell.errors import InsufficientScope, InvalidId, InvalidRequest
from paybell.ids import IDS_MAX
from paybell.operations.problems import PROBLEMS
from paybell.operations.repairs import watch_repair
from paybell.reconciliation.acknowledgements import NOTE_MAX
from paybell.reconciliation.reconciler import Reconciler, Repair
from paybell.web.auth import Caller, scope, scopes_of
from paybell.web.errors import InvalidText, TooManyStreams
from paybell.web.event_streams import Streams
from paybell.web.fields import Id, parse_ids, read_id
from paybell.web.refusals import WITH_A_BODY
from paybell.web.texts import check_text

_HOURS_MAX = 24 * 365
Orders = Annotated[
    str, Meta(max_length=20 * IDS_MAX, description=f"Up to {IDS_MAX} order numbers, separated by commas.")
]


class Reconcile(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """What is compared: pay orders of the last so many hours, all without a number.

    A long run ends with the event ``continue``; its ``next`` is the ``after`` of the run that goes on.
    """

    repair: bool = False
    hours: Annotated[float, Meta(gt=0, le=_HOURS_MAX)] | None = None
    after: Id | None = None


class Acknowledge(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Which differences may stand as they are now, and why."""

    orders: Orders
    note: Annotated[str, Meta(min_length=1, max_length=NOTE_MAX)]


class Withdraw(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Which differences are to count again."""

    orders: Orders


class Acknowledged(msgspec.Struct, rename="camel"):
    """The orders concerned: those that differ, or that were acknowledged."""

    orders: list[str]


def book_routes(reconciler: Reconciler, streams: Streams, clock: Clock, merchant_id: str) -> Router:
    """Return the routes that compare, repair and acknowledge."""

    @post(
        "/reconcile",
        operation_id="reconcile",
        summary="Compare pay orders with orders, and repair what differs (server-sent events)",
        status_code=200,
        media_type="text/event-stream",
        responses=PROBLEMS.refusals(*WITH_A_BODY, InsufficientScope, InvalidId, TooManyStreams),
    )
    async def reconcile(request: Caller, data: JSONBody[Reconcile]) -> Stream:
        since = None if data.hours is None else clock.now() - timedelta(hours=data.hours)
        if data.repair:
            request.user.require("ops:repair")
        repair = Repair(request.user.user_id) if data.repair else None
        after = 0 if data.after is None else read_id(data.after, "after")
        run = reconciler.run(since, repair, after=after)
        return streams.respond(watch_repair(run, clock), request.user)

    @post(
        "/differences/acknowledge",
        operation_id="acknowledgeDifferences",
        summary="Let differences stand that were looked into, until one of the two sides changes",
        status_code=200,
        opt=scope("ops:repair"),
        responses=PROBLEMS.refusals(*WITH_A_BODY, InsufficientScope, InvalidId, InvalidRequest, InvalidText),
    )
    async def acknowledge(request: Caller, data: JSONBody[Acknowledge]) -> Acknowledged:
        numbers, note = parse_ids(data.orders, "orders"), check_text(data.note, "note")
        found = await reconciler.acknowledge(numbers, request.user.user_id, note)
        return Acknowledged([str(one.number) for one in found])

    @post(
        "/differences/withdraw",
        operation_id="withdrawAcknowledgements",
        summary="Let differences that were acknowledged count again",
        status_code=200,
        opt=scope("ops:repair"),
        responses=PROBLEMS.refusals(*WITH_A_BODY, InsufficientScope, InvalidId, InvalidRequest),
    )
    async def withdraw(request: Caller, data: JSONBody[Withdraw]) -> Acknowledged:
        numbers = parse_ids(data.orders, "orders")
        withdrawn = await reconciler.acknowledgements.withdraw(numbers, request.user.user_id)
        return Acknowledged([str(number) for number in withdrawn])

    opt = scope("ops:read") | scopes_of(merchant_id)
    handlers = [reconcile, acknowledge, withdraw]
    return Router("/ops", route_handlers=handlers, tags=["operations"], opt=opt)
