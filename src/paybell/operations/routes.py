"""Routes of the operations console: scopes ``ops:read`` and ``ops:repair``."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, Router, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery, QueryParameter
from litestar.response import Stream

from paybell.errors import InsufficientScope, InvalidId, InvalidRequest
from paybell.ids import parse_id
from paybell.operations.audit import Chosen
from paybell.operations.desk import OperatorDesk
from paybell.operations.failure_routes import failure_handlers
from paybell.operations.problems import PROBLEMS
from paybell.storage.listing import TABLE_ROWS_MAX
from paybell.storage.operator_actions import OperatorAction
from paybell.web.auth import Caller, scope, scopes_of
from paybell.web.bodies import JSON
from paybell.web.csv import CSV, csv_head, csv_rows
from paybell.web.errors import TooManyStreams
from paybell.web.event_streams import Streams
from paybell.web.listing import NEXT_HEADER, AlsoCsv
from paybell.web.negotiation import preferred

PAGE_MAX = 100
_TABLE_PAGE = 2_000


class ActionView(msgspec.Struct, rename="camel"):
    """What an operator did: to so many rows of the database ``pay`` or ``trade``, which counts its own."""

    id: str
    database: str
    at: datetime
    who: str
    action: str
    selection: str
    rows: int


class Actions(msgspec.Struct):
    """Actions, newest first; ``next`` is sent as ``after``, null on the last page."""

    actions: list[ActionView]
    next: str | None


def _view(database: str, action: OperatorAction) -> ActionView:
    return ActionView(**{**asdict(action), "id": str(action.id)}, database=database)


async def _table(desk: OperatorDesk, after: str | None, chosen: Chosen) -> Response[bytes]:
    """Return everything from there on, as much as one answer may hold."""
    parts, rows = [csv_head(ActionView)], 0
    while True:
        page = await desk.audit.page(after, min(_TABLE_PAGE, TABLE_ROWS_MAX - rows), chosen)
        parts.append(csv_rows(_view(*one) for one in page.actions))
        rows, after = rows + len(page.actions), page.next
        if after is None or rows >= TABLE_ROWS_MAX:
            break
    headers = {} if after is None else {NEXT_HEADER: after}
    return Response(b"".join(parts), media_type=CSV, headers=headers)


def _watching(desk: OperatorDesk, streams: Streams) -> list[HTTPRouteHandler]:
    @get(
        "/now",
        operation_id="watchOperations",
        summary="How everything stands: the last 15 minutes, then each new sample (server-sent events)",
        media_type="text/event-stream",
        responses=PROBLEMS.refusals(InvalidRequest, InsufficientScope, TooManyStreams),
    )
    async def now(
        request: Caller,
        samples: Annotated[int | None, QueryParameter(ge=0, description="End after so many.")] = None,
    ) -> Stream:
        return streams.respond(desk.monitor.follow(samples), request.user)

    @get(
        "/actions",
        operation_id="readActions",
        summary="What operators did by hand, newest first, in pages or as CSV",
        operation_class=AlsoCsv,
        responses=PROBLEMS.refusals(InvalidRequest, InvalidId, InsufficientScope)
        | {200: ResponseSpec(Actions, description="A page, or all of it as CSV", generate_examples=False)},
    )
    async def actions(
        request: Caller,
        *,
        after: Annotated[
            str | None, QueryParameter(description="`next` of the page before.", max_length=60)
        ] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=PAGE_MAX)] = PAGE_MAX,
        on: Annotated[
            list[str] | None,
            QueryParameter(description="On these pay orders or attempts only.", max_items=200),
        ] = None,
        action: Annotated[
            list[str] | None,
            QueryParameter(description="These only, where nothing is named by `on`.", max_items=20),
        ] = None,
        database: FromQuery[Literal["pay", "trade"] | None] = None,
    ) -> Response[Any]:
        chosen = Chosen([parse_id(one) for one in on or ()], action or (), database)
        if preferred(request.headers.get("accept", ""), (JSON, CSV)) == CSV:
            return await _table(desk, after, chosen)
        page = await desk.audit.page(after, limit, chosen)
        return Response(Actions([_view(*one) for one in page.actions], page.next))

    return [now, actions]


def ops_routes(desk: OperatorDesk, streams: Streams, merchant_id: str) -> Router:
    """Return the routes under ``/ops``: of the house, because they show every merchant's payments."""
    opt = scope("ops:read") | scopes_of(merchant_id)
    handlers = [*_watching(desk, streams), *failure_handlers(desk)]
    return Router("/ops", route_handlers=handlers, tags=["operations"], opt=opt)
