"""The order service's HTTP routes."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime

import msgspec
from litestar import Response, Router, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from litestar.response import Stream

from paybell.clock import Clock
from paybell.errors import (
    AlreadyPaid,
    AttemptNotFinal,
    InsufficientScope,
    InvalidAmount,
    InvalidId,
    OutcomeUnknown,
    PayOrderClosed,
    UnknownCurrency,
)
from paybell.ids import parse_id
from paybell.money import DEFAULT_CURRENCY, check_currency
from paybell.trade.errors import (
    NotTheBuyer,
    OrderCancelled,
    OrderMismatch,
    OrderNotFound,
    PayServiceUnavailable,
)
from paybell.trade.model import Order, OrderStatus, Purchase
from paybell.trade.problems import PROBLEMS
from paybell.trade.service import TradeService
from paybell.trade.watch import OrderWatch
from paybell.web.auth import Caller, scope, scopes_of, trace_of
from paybell.web.errors import InvalidText, TooManyStreams
from paybell.web.event_streams import Streams
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


class NewOrder(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """An order as the shop's backend asks for it; the fee in minor units."""

    buyer_id: UserId
    total_fee: Amount
    currency: Currency = DEFAULT_CURRENCY
    subject: Subject = ""
    order_id: Id | None = None


class OrderView(msgspec.Struct, rename="camel"):
    """An order as HTTP shows it; ``orderId`` is ``id`` under the name it has elsewhere."""

    id: str
    order_id: str
    buyer_id: str
    total_fee: int
    currency: str
    subject: str
    status: OrderStatus
    pay_order_id: str | None
    created_at: datetime
    paid_at: datetime | None
    cancelled_at: datetime | None
    refunded_amount: int


class OrderNews(msgspec.Struct):
    """An order as it is now, and the server's time: a browser's clock may be off."""

    order: OrderView
    now: datetime


def view(order: Order) -> OrderView:
    """Show an order."""
    return OrderView(
        id=str(order.id),
        order_id=str(order.id),
        buyer_id=order.buyer_id,
        total_fee=order.total_fee,
        currency=order.currency,
        subject=order.subject,
        status=order.status,
        pay_order_id=None if order.pay_order_id is None else str(order.pay_order_id),
        created_at=order.created_at,
        paid_at=order.paid_at,
        cancelled_at=order.cancelled_at,
        refunded_amount=order.refunded_amount,
    )


def _reading(
    service: TradeService, watch: OrderWatch, streams: Streams, clock: Clock
) -> list[HTTPRouteHandler]:
    @get(
        "/{order_id:str}",
        operation_id="readOrder",
        summary="Read an order",
        responses=PROBLEMS.refusals(InvalidId, NotTheBuyer, OrderNotFound),
    )
    async def read_order(request: Caller, order_id: PathId) -> OrderView:
        return view(await service.read(parse_id(order_id), request.user))

    @get(
        "/{order_id:str}/events",
        operation_id="followOrder",
        summary="Follow an order: server-sent events `order`, now and whenever its status changes",
        media_type="text/event-stream",
        responses=PROBLEMS.refusals(InvalidId, NotTheBuyer, OrderNotFound, TooManyStreams),
    )
    async def follow_order(request: Caller, order_id: PathId) -> Stream:
        order = await service.read(parse_id(order_id), request.user)

        async def news() -> AsyncGenerator[tuple[str, object], None]:
            async with aclosing(watch.follow(order)) as changes:
                async for change in changes:
                    yield "order", OrderNews(view(change), clock.now())

        return streams.respond(news(), request.user)

    return [read_order, follow_order]


def _writing(service: TradeService) -> list[HTTPRouteHandler]:
    @post(
        "/",
        operation_id="createOrder",
        summary="Create an order and its pay order",
        opt=scope("orders:write"),
        responses=PROBLEMS.refusals(
            *WITH_A_BODY,
            InvalidAmount,
            InvalidId,
            InvalidText,
            UnknownCurrency,
            InsufficientScope,
            OrderCancelled,
            OrderMismatch,
            PayOrderClosed,
            PayServiceUnavailable,
            OutcomeUnknown,
        )
        | same_again(OrderView),
    )
    async def create_order(request: Caller, data: JSONBody[NewOrder]) -> Response[OrderView]:
        purchase = Purchase(
            order_id=service.new_id() if data.order_id is None else read_id(data.order_id, "orderId"),
            buyer_id=data.buyer_id,
            total_fee=data.total_fee,
            currency=check_currency(data.currency),
            subject=check_text(data.subject, "subject"),
        )
        order, created = await service.create(purchase, trace_of(request))
        return created_or_same(view(order), created=created)

    @post(
        "/{order_id:str}/cancel",
        operation_id="cancelOrder",
        summary="Cancel an unpaid order",
        status_code=200,
        responses=PROBLEMS.refusals(
            InvalidId,
            NotTheBuyer,
            OrderNotFound,
            AlreadyPaid,
            AttemptNotFinal,
            PayServiceUnavailable,
            OutcomeUnknown,
        ),
    )
    async def cancel_order(request: Caller, order_id: PathId) -> OrderView:
        return view(await service.cancel(parse_id(order_id), request.user, trace_of(request)))

    return [create_order, cancel_order]


def order_routes(
    service: TradeService, watch: OrderWatch, streams: Streams, clock: Clock, merchant_id: str
) -> Router:
    """Return the routes under ``/orders``, the order service of one merchant."""
    handlers = [*_reading(service, watch, streams, clock), *_writing(service)]
    return Router("/orders", route_handlers=handlers, opt=scopes_of(merchant_id), tags=["orders"])
