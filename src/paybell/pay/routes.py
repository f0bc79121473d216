"""Routes of pay orders."""

from datetime import datetime
from typing import Annotated, Literal, cast

import msgspec
from litestar import Response, Router, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from msgspec import Meta

from paybell.errors import (
    AlreadyPaid,
    AttemptNotFinal,
    Busy,
    InsufficientScope,
    InvalidAmount,
    InvalidId,
    OutcomeUnknown,
    PayOrderClosed,
    UnknownCurrency,
)
from paybell.ids import parse_id
from paybell.money import DEFAULT_CURRENCY, check_currency
from paybell.pay.errors import NotThePayer, PayOrderMismatch, PayOrderNotFound
from paybell.pay.model import Application, PayOrder
from paybell.pay.problems import PROBLEMS
from paybell.pay.service import PayService
from paybell.web.auth import Caller, scope, trace_of
from paybell.web.errors import InvalidText
from paybell.web.fields import (
    Amount,
    Currency,
    Id,
    PathId,
    Subject,
    UserId,
    read_id,
)
from paybell.web.idempotency import created_or_same, same_again
from paybell.web.refusals import WITH_A_BODY
from paybell.web.texts import check_text

StatusName = Literal["NOT_COMMIT", "WAIT_BUYER_PAY", "TRADE_CLOSED", "TRADE_SUCCESS"]


class NewPayOrder(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """What is to be paid; the amount in minor units, the deadline in seconds from now."""

    biz_order_no: Id
    payer_id: UserId
    amount: Amount
    currency: Currency = DEFAULT_CURRENCY
    subject: Subject = ""
    expires_in_seconds: Annotated[int, Meta(ge=1, le=2_592_000)] | None = None


class PayOrderView(msgspec.Struct, rename="camel"):
    """A pay order as HTTP shows it; ``payOrderId`` is ``id`` under the name it has elsewhere."""

    id: str
    pay_order_id: str
    biz_order_no: str
    merchant_id: str
    payer_id: str
    amount: int
    currency: str
    subject: str
    status: StatusName
    status_code: int
    version: int
    created_at: datetime
    expires_at: datetime
    succeeded_at: datetime | None
    closed_at: datetime | None
    refunded_amount: int
    channel: str | None


def view(order: PayOrder) -> PayOrderView:
    """Show a pay order."""
    return PayOrderView(
        id=str(order.id),
        pay_order_id=str(order.id),
        biz_order_no=str(order.biz_order_no),
        merchant_id=order.merchant_id,
        payer_id=order.payer_id,
        amount=order.amount,
        currency=order.currency,
        subject=order.subject,
        status=cast("StatusName", order.status.name),
        status_code=order.status.value,
        version=order.version,
        created_at=order.created_at,
        expires_at=order.expires_at,
        succeeded_at=order.succeeded_at,
        closed_at=order.closed_at,
        refunded_amount=order.refunded_amount,
        channel=order.channel,
    )


def read_application(data: NewPayOrder, merchant_id: str, default_ttl_seconds: int) -> Application:
    """Read what is asked for in the name of a merchant.

    Raises:
        InvalidId, UnknownCurrency, InvalidText: a member is not of its form.
    """
    return Application(
        merchant_id=merchant_id,
        biz_order_no=read_id(data.biz_order_no, "bizOrderNo"),
        payer_id=data.payer_id,
        amount=data.amount,
        currency=check_currency(data.currency),
        subject=check_text(data.subject, "subject"),
        ttl_seconds=data.expires_in_seconds or default_ttl_seconds,
    )


def _reading(service: PayService) -> list[HTTPRouteHandler]:
    @get(
        "/{pay_order_id:str}",
        operation_id="readPayOrder",
        summary="Read a pay order",
        responses=PROBLEMS.refusals(InvalidId, NotThePayer, PayOrderNotFound),
    )
    async def read(request: Caller, pay_order_id: PathId) -> PayOrderView:
        return view(await service.read(parse_id(pay_order_id), request.user))

    @get(
        "/biz/{biz_order_no:str}",
        operation_id="readPayOrderByBizOrderNo",
        summary="Read a pay order by its business order number",
        responses=PROBLEMS.refusals(InvalidId, NotThePayer, PayOrderNotFound),
    )
    async def read_by_biz_order_no(request: Caller, biz_order_no: PathId) -> PayOrderView:
        return view(await service.read_by_biz_order_no(parse_id(biz_order_no), request.user))

    return [read, read_by_biz_order_no]


def _applying(service: PayService, default_ttl_seconds: int) -> list[HTTPRouteHandler]:
    @post(
        "/",
        operation_id="applyForPayOrder",
        summary="Apply for a pay order",
        opt=scope("pay-orders:write"),
        responses=PROBLEMS.refusals(
            *WITH_A_BODY,
            InvalidAmount,
            InvalidId,
            InvalidText,
            UnknownCurrency,
            InsufficientScope,
            PayOrderMismatch,
            AlreadyPaid,
            PayOrderClosed,
            OutcomeUnknown,
        )
        | same_again(PayOrderView),
    )
    async def apply(request: Caller, data: JSONBody[NewPayOrder]) -> Response[PayOrderView]:
        application = read_application(data, request.user.merchant_id, default_ttl_seconds)
        order, created = await service.apply(application)
        return created_or_same(view(order), created=created)

    return [apply]


def _closing(service: PayService) -> HTTPRouteHandler:
    @post(
        "/{pay_order_id:str}/close",
        operation_id="closePayOrder",
        summary="Close an unpaid pay order",
        status_code=200,
        opt=scope("pay-orders:write"),
        responses=PROBLEMS.refusals(
            InvalidId, InsufficientScope, PayOrderNotFound, AlreadyPaid, AttemptNotFinal, OutcomeUnknown, Busy
        ),
    )
    async def close(request: Caller, pay_order_id: PathId) -> PayOrderView:
        return view(await service.close(parse_id(pay_order_id), request.user, trace_of(request)))

    return close


def pay_order_routes(service: PayService, default_ttl_seconds: int) -> Router:
    """Return the routes under ``/pay-orders``; how to pay is another's."""
    handlers = [*_reading(service), *_applying(service, default_ttl_seconds), _closing(service)]
    return Router("/pay-orders", route_handlers=handlers, tags=["pay orders"])
