"""Routes of refunds."""

import msgspec
from litestar import Response, Router, get, post
from litestar.params import JSONBody

from paybell.errors import Busy, InsufficientScope, InvalidAmount, InvalidId, OutcomeUnknown
from paybell.idempotency.keys import KeptAnswer
from paybell.ids import parse_id
from paybell.pay.errors import (
    MerchantInsufficientBalance,
    PayOrderNotFound,
    PayOrderNotPaid,
    RefundExceedsPayment,
)
from paybell.pay.model import PayOrder, Refund, RefundStatus
from paybell.pay.problems import PROBLEMS
from paybell.pay.refunds import RefundRequest, RefundService
from paybell.wallet.errors import BalanceLimit
from paybell.web.auth import Caller, scope, trace_of
from paybell.web.errors import InvalidText
from paybell.web.fields import Amount, PathId, Subject
from paybell.web.idempotency import WITH_A_KEY, IdempotencyHeader, done_once, kept, read_key, replayable
from paybell.web.refusals import WITH_A_BODY
from paybell.web.texts import check_text

# What any refund may be refused with, whoever asks for it.
REFUSED_WITH = (
    *WITH_A_BODY,
    InvalidAmount,
    InvalidId,
    InvalidText,
    InsufficientScope,
    PayOrderNotFound,
    PayOrderNotPaid,
    RefundExceedsPayment,
    MerchantInsufficientBalance,
    BalanceLimit,
    *WITH_A_KEY,
    OutcomeUnknown,
    Busy,
)


class NewRefund(msgspec.Struct, forbid_unknown_fields=True):
    """How much is given back, in minor units, and why."""

    amount: Amount
    reason: Subject = ""


class RefundView(msgspec.Struct, rename="camel"):
    """A refund as HTTP shows it; ``refundedAmount`` is all that was given back so far."""

    refund_id: str
    pay_order_id: str
    biz_order_no: str
    amount: int
    refunded_amount: int
    currency: str
    reason: str
    version: int
    status: RefundStatus


class RefundsOfPayOrder(msgspec.Struct):
    """A payment's refunds, oldest first."""

    refunds: list[RefundView]


def view(refund: Refund, order: PayOrder) -> RefundView:
    """Show a refund and the pay order after it."""
    return RefundView(
        refund_id=str(refund.id),
        pay_order_id=str(order.id),
        biz_order_no=str(order.biz_order_no),
        amount=refund.amount,
        refunded_amount=order.refunded_amount,
        currency=order.currency,
        reason=refund.reason,
        version=order.version,
        status=refund.status,
    )


def refunded(done: tuple[Refund, PayOrder]) -> KeptAnswer:
    """Make the answer that is kept for a refund."""
    return kept(view(*done))


def refund_routes(service: RefundService) -> Router:
    """Return the routes of refunds under ``/pay-orders``."""

    @post(
        "/{pay_order_id:str}/refunds",
        operation_id="refundPayOrder",
        summary="Give back some or all of a payment",
        opt=scope("refunds:write"),
        responses=PROBLEMS.refusals(*REFUSED_WITH) | done_once(RefundView),
    )
    async def refund(
        request: Caller,
        pay_order_id: PathId,
        data: JSONBody[NewRefund],
        idempotency_key: IdempotencyHeader = None,
    ) -> Response[bytes]:
        number = parse_id(pay_order_id)
        key = read_key(request, f"POST /pay-orders/{number}/refunds", idempotency_key, data)
        wanted = RefundRequest(
            pay_order_id=number,
            merchant_id=request.user.merchant_id,
            amount=data.amount,
            reason=check_text(data.reason, "reason"),
            key=key,
            traceparent=trace_of(request),
        )
        answer, replayed = await service.refund(wanted, refunded)
        return replayable(answer, replayed=replayed)

    @get(
        "/{pay_order_id:str}/refunds",
        operation_id="readRefundsOfPayOrder",
        summary="Read what was given back of a payment, and what is on its way",
        opt=scope("refunds:write"),
        responses=PROBLEMS.refusals(InvalidId, InsufficientScope, PayOrderNotFound),
    )
    async def read_refunds(request: Caller, pay_order_id: PathId) -> RefundsOfPayOrder:
        order, refunds = await service.find(parse_id(pay_order_id), request.user.merchant_id)
        return RefundsOfPayOrder([view(one, order) for one in refunds])

    return Router("/pay-orders", route_handlers=[refund, read_refunds], tags=["refunds"])
