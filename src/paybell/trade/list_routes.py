"""The route that lists orders: all of them with the scope, else the caller's own."""

from dataclasses import replace
from typing import Annotated, Any

import msgspec
from litestar import Response, Router, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery
from msgspec import UNSET, UnsetType

from paybell.clock import Clock
from paybell.errors import InsufficientScope, InvalidId, InvalidRequest
from paybell.storage import Database
from paybell.storage.listing import Wanted
from paybell.trade.lists import order_list
from paybell.trade.model import Order, OrderStatus
from paybell.trade.problems import PROBLEMS
from paybell.trade.routes import OrderView, view
from paybell.trade.service import TradeService
from paybell.web.auth import Caller, scopes_of
from paybell.web.fields import id_list, parse_ids, person
from paybell.web.listing import AlsoCsv, Next, Shown, alone, listed, seen_by, wanted_by


class OrderList(msgspec.Struct):
    """Orders, newest first; without ``next`` where they were asked for by id."""

    orders: list[OrderView]
    next: Next | UnsetType = UNSET


_ORDERS: Shown[Order] = Shown(OrderView, view, OrderList)


def list_routes(service: TradeService, database: Database, clock: Clock, merchant_id: str) -> Router:
    """Return the route that lists, under ``/orders``, the order service of one merchant."""
    orders = order_list(database, clock)

    @get(
        "/",
        operation_id="readOrders",
        summary="List orders, newest first, in pages or as CSV; or read up to 200 by id",
        operation_class=AlsoCsv,
        responses=PROBLEMS.refusals(InvalidRequest, InvalidId, InsufficientScope)
        | {200: ResponseSpec(OrderList, description="A page, or all of it as CSV", generate_examples=False)},
    )
    async def read_orders(
        request: Caller,
        wanted: NamedDependency[Wanted],
        ids: Annotated[str | None, id_list("ids")] = None,
        status: FromQuery[OrderStatus | None] = None,
        buyer_id: Annotated[str | None, person("buyerId")] = None,
    ) -> Response[Any]:
        if ids is not None:
            request.user.require("orders:read")
            alone(request, "ids")
            found = await service.read_many(parse_ids(ids, "ids"))
            return Response(OrderList([view(order) for order in found]))
        wanted = replace(wanted, status=status, person=buyer_id)
        return await listed(request, orders, seen_by(request.user, wanted, "orders:read"), _ORDERS)

    return Router(
        "/orders",
        route_handlers=[read_orders],
        dependencies=wanted_by(clock),
        opt=scopes_of(merchant_id),
        tags=["orders"],
    )
