"""Routes that list pay orders and refunds: a merchant's with the scope, else the caller's own."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Response, Router, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery
from msgspec import UNSET, UnsetType

from paybell.clock import Clock
from paybell.errors import InsufficientScope, InvalidId, InvalidRequest
from paybell.pay.lists import RefundRow, find_refunds, pay_order_list, refund_list
from paybell.pay.model import PayOrder, RefundStatus
from paybell.pay.problems import PROBLEMS
from paybell.pay.routes import PayOrderView, StatusName, view
from paybell.pay.service import PayService
from paybell.storage import Database
from paybell.storage.listing import Wanted
from paybell.web.auth import Caller
from paybell.web.fields import id_list, parse_ids, person
from paybell.web.listing import AlsoCsv, Next, Shown, alone, listed, seen_by, wanted_by

_REFUSALS = PROBLEMS.refusals(InvalidRequest, InvalidId, InsufficientScope)


class PayOrderList(msgspec.Struct, rename="camel"):
    """Pay orders, newest first; without ``next`` where they were asked for by number."""

    pay_orders: list[PayOrderView]
    next: Next | UnsetType = UNSET


class RefundListed(msgspec.Struct, rename="camel"):
    """A refund in a list; the amount in minor units."""

    refund_id: str
    pay_order_id: str
    biz_order_no: str
    merchant_id: str
    payer_id: str
    amount: int
    currency: str
    reason: str
    created_at: datetime
    status: RefundStatus


class RefundPage(msgspec.Struct):
    """Refunds, newest first; without ``next`` where they were asked for by id."""

    refunds: list[RefundListed]
    next: Next | UnsetType = UNSET


_PAY_ORDERS: Shown[PayOrder] = Shown(PayOrderView, view, PayOrderList)


def _show(refund: RefundRow) -> RefundListed:
    return RefundListed(
        refund_id=str(refund.id),
        pay_order_id=str(refund.pay_order_id),
        biz_order_no=str(refund.biz_order_no),
        merchant_id=refund.merchant_id,
        payer_id=refund.payer_id,
        amount=refund.amount,
        currency=refund.currency,
        reason=refund.reason,
        created_at=refund.created_at,
        status=RefundStatus(refund.status),
    )


_REFUNDS: Shown[RefundRow] = Shown(RefundListed, _show, RefundPage)


def list_routes(service: PayService, database: Database, clock: Clock) -> list[Router]:
    """Return the routes that list, under ``/pay-orders`` and ``/refunds``."""
    pay_orders, refunds = pay_order_list(database, clock), refund_list(database, clock)

    @get(
        "/",
        operation_id="readPayOrders",
        summary="List pay orders, newest first, in pages or as CSV; or read up to 200 by business number",
        operation_class=AlsoCsv,
        responses=_REFUSALS
        | {
            200: ResponseSpec(
                PayOrderList, description="A page, or all of it as CSV", generate_examples=False
            )
        },
    )
    async def read_pay_orders(
        request: Caller,
        wanted: NamedDependency[Wanted],
        biz_order_nos: Annotated[str | None, id_list("bizOrderNos")] = None,
        status: FromQuery[StatusName | None] = None,
        payer_id: Annotated[str | None, person("payerId")] = None,
    ) -> Response[Any]:
        if biz_order_nos is not None:
            alone(request, "bizOrderNos")
            found = await service.read_many(parse_ids(biz_order_nos, "bizOrderNos"), request.user)
            return Response(PayOrderList([view(order) for order in found]))
        wanted = replace(wanted, status=status, person=payer_id)
        seen = seen_by(request.user, wanted, "pay-orders:read")
        return await listed(request, pay_orders, seen, _PAY_ORDERS)

    @get(
        "/",
        operation_id="readRefunds",
        summary="List refunds, newest first, in pages or as CSV; or read up to 200 by id",
        operation_class=AlsoCsv,
        responses=_REFUSALS
        | {200: ResponseSpec(RefundPage, description="A page, or all of it as CSV", generate_examples=False)},
    )
    async def read_refunds(
        request: Caller,
        wanted: NamedDependency[Wanted],
        ids: Annotated[str | None, id_list("ids")] = None,
        status: FromQuery[RefundStatus | None] = None,
        payer_id: Annotated[str | None, person("payerId")] = None,
    ) -> Response[Any]:
        if ids is not None:
            request.user.require("refunds:read")
            alone(request, "ids")
            found = await find_refunds(database, parse_ids(ids, "ids"), request.user.merchant_id)
            return Response(RefundPage([_show(refund) for refund in found]))
        seen = seen_by(request.user, replace(wanted, status=status, person=payer_id), "refunds:read")
        return await listed(request, refunds, seen, _REFUNDS)

    dependencies = wanted_by(clock)
    return [
        Router(
            "/pay-orders", route_handlers=[read_pay_orders], dependencies=dependencies, tags=["pay orders"]
        ),
        Router("/refunds", route_handlers=[read_refunds], dependencies=dependencies, tags=["refunds"]),
    ]
