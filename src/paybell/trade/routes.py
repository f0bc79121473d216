"""The order service's HTTP routes."""

from datetime import datetime

import msgspec
from litestar import Response, Router, get, post

from paybell.ids import parse_id
from paybell.money import DEFAULT_CURRENCY, check_amount, check_currency
from paybell.trade.model import Order, Purchase
from paybell.trade.service import TradeService
from paybell.web import Caller, IdList, Subject, UserId, check_text, parse_ids, scope, trace_of


class NewOrder(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """An order as the shop's backend asks for it; the fee in minor units."""

    buyer_id: UserId
    total_fee: int
    currency: str = DEFAULT_CURRENCY
    subject: Subject = ""
    order_id: str | None = None


class OrderView(msgspec.Struct, rename="camel"):
    """An order as HTTP shows it; ``orderId`` is ``id`` under the name it has elsewhere."""

    id: str
    order_id: str
    buyer_id: str
    total_fee: int
    currency: str
    subject: str
    status: str
    pay_order_id: str | None
    created_at: datetime
    paid_at: datetime | None
    cancelled_at: datetime | None


class OrderList(msgspec.Struct):
    """Some orders."""

    orders: list[OrderView]


def view(order: Order) -> OrderView:
    """Show an order."""
    return OrderView(
        id=str(order.id),
        order_id=str(order.id),
        buyer_id=order.buyer_id,
        total_fee=order.total_fee,
        currency=order.currency,
        subject=order.subject,
        status=order.status.value,
        pay_order_id=None if order.pay_order_id is None else str(order.pay_order_id),
        created_at=order.created_at,
        paid_at=order.paid_at,
        cancelled_at=order.cancelled_at,
    )


def order_routes(service: TradeService) -> Router:
    """Return the routes under ``/orders``."""

    @post("/", guards=[scope("orders:write")], summary="Create an order and its pay order")
    async def create_order(request: Caller, data: NewOrder) -> Response[OrderView]:
        purchase = Purchase(
            order_id=service.new_id() if data.order_id is None else parse_id(data.order_id),
            buyer_id=data.buyer_id,
            total_fee=check_amount(data.total_fee),
            currency=check_currency(data.currency),
            subject=check_text(data.subject),
        )
        order, created = await service.create(purchase, trace_of(request))
        return Response(view(order), status_code=201 if created else 200)

    @get("/", guards=[scope("orders:read")], summary="Read up to 200 orders by id")
    async def read_orders(ids: IdList) -> OrderList:
        return OrderList([view(order) for order in await service.read_many(parse_ids(ids))])

    @get("/{order_id:str}", summary="Read an order")
    async def read_order(request: Caller, order_id: str) -> OrderView:
        return view(await service.read(parse_id(order_id), request.user))

    @post("/{order_id:str}/cancel", status_code=200, summary="Cancel an unpaid order")
    async def cancel_order(request: Caller, order_id: str) -> OrderView:
        return view(await service.cancel(parse_id(order_id), request.user, trace_of(request)))

    return Router("/orders", route_handlers=[create_order, read_orders, read_order, cancel_order])
