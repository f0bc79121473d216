"""Routes of the operations console about payments: the list, and one payment's way."""

from dataclasses import replace
from typing import Annotated, Any

import msgspec
from litestar import Response, Router, get
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, QueryParameter

from paybell.clock import Clock
from paybell.errors import InsufficientScope, InvalidId, InvalidRequest
from paybell.operations.payments import Payment, Payments
from paybell.operations.problems import PROBLEMS
from paybell.operations.timeline import Timelines
from paybell.operations.timeline_views import Timeline
from paybell.pay.errors import PayOrderNotFound
from paybell.pay.routes import PayOrderView, StatusName
from paybell.pay.routes import view as pay_order_view
from paybell.storage.listing import Wanted
from paybell.trade.model import OrderStatus
from paybell.web.auth import Caller, scope, scopes_of
from paybell.web.fields import person
from paybell.web.listing import AlsoCsv, Next, Shown, listed, wanted_by


class PaymentView(PayOrderView):
    """A pay order and the status of its order; null: there is none, or trade does not answer."""

    order_status: OrderStatus | None


class PaymentList(msgspec.Struct):
    """Payments, newest first."""

    payments: list[PaymentView]
    next: Next


def _view(payment: Payment) -> PaymentView:
    shown = msgspec.structs.asdict(pay_order_view(payment.pay_order))
    return PaymentView(**shown, order_status=payment.order_status)


_PAYMENTS: Shown[Payment] = Shown(PaymentView, _view, PaymentList)


def _list(payments: Payments) -> HTTPRouteHandler:
    @get(
        "/",
        operation_id="listPayments",
        summary="List every merchant's pay orders, newest first, in pages or as CSV",
        operation_class=AlsoCsv,
        responses=PROBLEMS.refusals(InvalidRequest, InvalidId, InsufficientScope)
        | {
            200: ResponseSpec(PaymentList, description="A page, or all of it as CSV", generate_examples=False)
        },
    )
    async def read_payments(
        *,
        request: Caller,
        wanted: NamedDependency[Wanted],
        status: FromQuery[StatusName | None] = None,
        payer_id: Annotated[str | None, person("payerId")] = None,
        merchant_id: Annotated[str | None, QueryParameter(name="merchantId", max_length=64)] = None,
        not_delivered: Annotated[
            bool,
            QueryParameter(
                name="notDelivered",
                description="Only what waits to be published, or was listed by the last comparison.",
            ),
        ] = False,
    ) -> Response[Any]:
        wanted = replace(wanted, status=status, person=payer_id, merchant=merchant_id)
        listing = payments.not_delivered if not_delivered else payments.all
        return await listed(request, listing, wanted, _PAYMENTS)

    return read_payments


def payment_routes(payments: Payments, timelines: Timelines, clock: Clock, merchant_id: str) -> Router:
    """Return the routes under ``/ops/payments``: of the house, because they show every merchant's."""

    @get(
        "/{name:str}",
        operation_id="readTimeline",
        summary="One payment's way through all parts, by any of its ids",
        responses=PROBLEMS.refusals(InvalidRequest, InsufficientScope, PayOrderNotFound),
    )
    async def timeline(name: FromPath[str]) -> Timeline:
        return await timelines.find(name)

    return Router(
        "/ops/payments",
        route_handlers=[_list(payments), timeline],
        dependencies=wanted_by(clock),
        opt=scope("ops:read") | scopes_of(merchant_id),
        tags=["operations"],
    )
