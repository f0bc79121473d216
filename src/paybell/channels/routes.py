"""Routes of attempts: for payers, and for channels that send notices."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from paybell.channels.errors import (
    ChannelNotOffered,
    ChannelRefused,
    ChannelUnavailable,
)
from paybell.channels.methods import Asks
from paybell.channels.notices import Notices
from paybell.channels.payments import AttemptService
from paybell.channels.problems import PROBLEMS
from paybell.channels.qr import qr_shape
from paybell.channels.views import AttemptView, view
from paybell.channels.wallet import NAME
from paybell.errors import (
    AlreadyPaid,
    AttemptNotFinal,
    Busy,
    InvalidId,
    OutcomeUnknown,
    PayOrderClosed,
)
from paybell.ids import parse_id
from paybell.pay.errors import NotThePayer, PayOrderNotFound
from paybell.pay.paying_routes import paying
from paybell.pay.routes import PayOrderView
from paybell.pay.routes import view as order_view
from paybell.pay.settlement import PaymentRequest
from paybell.pay.status import PayStatus
from paybell.web.auth import Caller, trace_of
from paybell.web.fields import PathId
from paybell.web.refusals import WITH_A_BODY

Stranger = Request[Any, Any, Any]
ChannelName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}$(?!\n)", description="Such as alipay.")]


class NewAttempt(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """By which channel the order is to be paid."""

    channel: ChannelName


class QrImage(msgspec.Struct):
    """A QR code to draw: ``side`` modules wide with its quiet zone; ``path`` is the ``d`` of an SVG path."""

    side: int
    path: str


class OpenedAttemptView(AttemptView, rename="camel"):
    """An attempt with its QR code as a picture, where it has one."""

    qr_image: QrImage | None


class MethodView(msgspec.Struct):
    """One way to pay: by which channel, and what the buyer is asked for.

    The passwords go to ``/pay``; with ``nothing`` an attempt is made by that channel.
    """

    channel: str
    asks: Asks


class MethodList(msgspec.Struct):
    """The ways to pay an order now; none once it is paid or closed."""

    methods: list[MethodView]


class AttemptList(msgspec.Struct):
    """The attempts of an order, oldest first."""

    attempts: list[AttemptView]


class WalletPayment(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The payer's consent, as the remote wallet asks for it."""

    pay_password: Annotated[str, Meta(min_length=1, max_length=128, description="1 to 128 characters.")]


def attempt_routes(service: AttemptService) -> Router:
    """Return the routes of attempts under ``/pay-orders``."""

    @post(
        "/{pay_order_id:str}/attempts",
        operation_id="openAttempt",
        summary="Try to pay by a channel, or read the attempt that is open there",
        responses=PROBLEMS.refusals(
            *WITH_A_BODY,
            InvalidId,
            PayOrderNotFound,
            NotThePayer,
            AlreadyPaid,
            PayOrderClosed,
            AttemptNotFinal,
            ChannelNotOffered,
            ChannelRefused,
            ChannelUnavailable,
            OutcomeUnknown,
            Busy,
        ),
    )
    async def open_attempt(
        request: Caller, pay_order_id: PathId, data: JSONBody[NewAttempt]
    ) -> OpenedAttemptView:
        number = parse_id(pay_order_id)
        attempt = await service.open_window(number, request.user.user_id, data.channel, trace_of(request))
        image = QrImage(*qr_shape(attempt.qr_code)) if attempt.qr_code else None
        return OpenedAttemptView(**msgspec.structs.asdict(view(attempt)), qr_image=image)

    @get(
        "/{pay_order_id:str}/attempts",
        operation_id="readAttempts",
        summary="Read what was tried to pay an order by channels",
        responses=PROBLEMS.refusals(InvalidId, NotThePayer, PayOrderNotFound),
    )
    async def read_attempts(request: Caller, pay_order_id: PathId) -> AttemptList:
        found = await service.of_pay_order(parse_id(pay_order_id), request.user)
        return AttemptList([view(one) for one in found])

    @get(
        "/{pay_order_id:str}/methods",
        operation_id="readMethods",
        summary="Read by which methods an order may be paid now",
        responses=PROBLEMS.refusals(InvalidId, NotThePayer, PayOrderNotFound),
    )
    async def read_methods(request: Caller, pay_order_id: PathId) -> MethodList:
        found = await service.methods(parse_id(pay_order_id), request.user)
        return MethodList([MethodView(one.channel, one.asks) for one in found])

    handlers = [open_attempt, read_attempts, read_methods]
    return Router("/pay-orders", route_handlers=handlers, tags=["attempts"])


def wallet_payment_routes(service: AttemptService) -> Router:
    """Return the route that pays out of a remote wallet, where that is what a balance is."""

    @paying(
        "Pay out of the payer's balance at the remote wallet",
        PROBLEMS,
        refusals=(ChannelNotOffered, ChannelRefused, ChannelUnavailable),
        answers={202: ResponseSpec(PayOrderView, description="Being confirmed", generate_examples=False)},
    )
    async def pay(
        request: Caller, pay_order_id: PathId, data: JSONBody[WalletPayment]
    ) -> Response[PayOrderView]:
        payment = PaymentRequest(
            pay_order_id=parse_id(pay_order_id),
            payer_id=request.user.user_id,
            pay_password=data.pay_password,
            traceparent=trace_of(request),
        )
        order = await service.pay(payment, NAME)
        paid = order.status is PayStatus.TRADE_SUCCESS
        return Response(order_view(order), status_code=200 if paid else 202)

    return Router("/pay-orders", route_handlers=[pay], tags=["pay orders"])


def notice_routes(notices: Notices) -> Router:
    """Return the route channels send notices to; a signature stands in for a token."""

    @post("/{channel:str}/notices", status_code=200, include_in_schema=False)
    async def take_notice(request: Stranger, channel: FromPath[str]) -> Response[bytes]:
        answer = await notices.take(channel, dict(request.headers.items()), request.body)
        return Response(answer.body, status_code=answer.status, media_type=answer.content_type)

    return Router("/channels", route_handlers=[take_notice])
