"""Routes of the operations console: scopes ``ops:read`` and ``ops:repair``."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Router, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from litestar.response import Stream

from paybell.errors import InsufficientScope, InvalidRequest
from paybell.operations.desk import OperatorDesk
from paybell.operations.failure_routes import failure_handlers
from paybell.operations.problems import PROBLEMS
from paybell.web.auth import Caller, scope, scopes_of
from paybell.web.errors import TooManyStreams
from paybell.web.event_streams import Streams

PAGE_MAX = 100


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
    """The last actions, newest first."""

    actions: list[ActionView]


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
        summary="What operators did by hand",
        responses=PROBLEMS.refusals(InvalidRequest, InsufficientScope),
    )
    async def actions() -> Actions:
        found = await desk.actions(PAGE_MAX)
        return Actions(
            [ActionView(**{**asdict(one), "id": str(one.id)}, database=name) for name, one in found]
        )

    return [now, actions]


def ops_routes(desk: OperatorDesk, streams: Streams, merchant_id: str) -> Router:
    """Return the routes under ``/ops``: of the house, because they show every merchant's payments."""
    opt = scope("ops:read") | scopes_of(merchant_id)
    handlers = [*_watching(desk, streams), *failure_handlers(desk)]
    return Router("/ops", route_handlers=handlers, tags=["operations"], opt=opt)
