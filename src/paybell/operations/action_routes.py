"""Routes of the operations console that change a payment: scopes ``ops:refund`` and ``ops:repair``."""

from typing import Annotated

import msgspec
from litestar import Response, Router, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from msgspec import Meta

from paybell.errors import AlreadyPaid, Busy, InsufficientScope, InvalidId, OutcomeUnknown
from paybell.ids import parse_id
from paybell.operations.errors import NothingToPublish
from paybell.operations.payment_actions import PaymentActions
from paybell.operations.problems import PROBLEMS
from paybell.pay.errors import (
    PayOrderNotFound,
)
from paybell.pay.refund_routes import REFUSED_WITH, RefundView, refunded
from paybell.pay.refunds import RefundRequest
from paybell.pay.routes import PayOrderView
from paybell.pay.routes import view as pay_order_view
from paybell.web.auth import Caller, scope, scopes_of, trace_of
from paybell.web.fields import Amount, PathId
from paybell.web.idempotency import IdempotencyHeader, done_once, read_key, replayable
from paybell.web.texts import check_text


class OperatorRefund(msgspec.Struct, forbid_unknown_fields=True):
    """How much is given back, in minor units, and why; the reason is kept with who did it."""

    amount: Amount
    reason: Annotated[str, Meta(min_length=1, max_length=256, description="Why, for people.")]


class Republished(msgspec.Struct, rename="camel"):
    """The event that is published again, under the id it had."""

    event_id: str


def action_routes(actions: PaymentActions, merchant_id: str) -> Router:
    """Return the routes under ``/ops/payments`` that change one payment."""
    return Router(
        "/ops/payments",
        route_handlers=[_refunding(actions), *_others(actions)],
        opt=scope("ops:refund") | scopes_of(merchant_id),
        tags=["operations"],
    )


def _refunding(actions: PaymentActions) -> HTTPRouteHandler:
    @post(
        "/{pay_order_id:str}/refund",
        operation_id="refundPayment",
        summary="Give back some or all of any merchant's payment, as an operator",
        responses=PROBLEMS.refusals(*REFUSED_WITH) | done_once(RefundView),
    )
    async def refund(
        request: Caller,
        pay_order_id: PathId,
        data: JSONBody[OperatorRefund],
        idempotency_key: IdempotencyHeader = None,
    ) -> Response[bytes]:
        number = parse_id(pay_order_id)
        wanted = RefundRequest(
            pay_order_id=number,
            merchant_id=None,
            amount=data.amount,
            reason=check_text(data.reason, "reason"),
            key=read_key(request, f"POST /ops/payments/{number}/refund", idempotency_key, data),
            traceparent=trace_of(request),
            operator=request.user.user_id,
        )
        answer, replayed = await actions.refund(wanted, refunded)
        return replayable(answer, replayed=replayed)

    return refund


def _others(actions: PaymentActions) -> list[HTTPRouteHandler]:
    @post(
        "/{pay_order_id:str}/close",
        operation_id="closePayment",
        summary="Close any merchant's unpaid pay order, as an operator",
        status_code=200,
        responses=PROBLEMS.refusals(
            InvalidId, InsufficientScope, PayOrderNotFound, AlreadyPaid, OutcomeUnknown, Busy
        ),
    )
    async def close(request: Caller, pay_order_id: PathId) -> PayOrderView:
        closed = await actions.close(parse_id(pay_order_id), request.user.user_id, trace_of(request))
        return pay_order_view(closed)

    @post(
        "/{pay_order_id:str}/republish",
        operation_id="republishPayment",
        summary="Publish a payment's newest event again; listeners apply it once",
        status_code=200,
        opt=scope("ops:repair"),
        responses=PROBLEMS.refusals(
            InvalidId, InsufficientScope, PayOrderNotFound, NothingToPublish, OutcomeUnknown, Busy
        ),
    )
    async def republish(request: Caller, pay_order_id: PathId) -> Republished:
        return Republished(await actions.republish(parse_id(pay_order_id), request.user.user_id))

    return [close, republish]
