"""Routes of attempts: for payers, for channels that send notices, and for operators who settle by hand."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Meta

from paybell.channels.attempt import Attempt, AttemptState
from paybell.channels.errors import (
    ChannelNotOffered,
    ChannelRefused,
    ChannelUnavailable,
    NothingToSettle,
    SecondPersonNeeded,
    SettlementDiffers,
    UnknownAttempt,
)
from paybell.channels.notices import Notices
from paybell.channels.payments import AttemptService
from paybell.channels.problems import PROBLEMS
from paybell.channels.settling import Settlement, Settling
from paybell.channels.wallet import NAME
from paybell.errors import (
    AlreadyPaid,
    AttemptNotFinal,
    Busy,
    InsufficientScope,
    InvalidId,
    OutcomeUnknown,
    PayOrderClosed,
)
from paybell.ids import ID_MAX, parse_id
from paybell.pay.errors import NotThePayer, PayOrderNotFound
from paybell.pay.routes import PayOrderView
from paybell.pay.routes import view as order_view
from paybell.pay.settlement import PaymentRequest
from paybell.pay.status import PayStatus
from paybell.wallet.errors import InsufficientBalance, PayPasswordLocked, WalletNotFound, WrongPayPassword
from paybell.web.auth import Caller, scope, scopes_of, trace_of
from paybell.web.errors import InvalidText
from paybell.web.fields import PathId
from paybell.web.refusals import WITH_A_BODY
from paybell.web.texts import check_text

PAGE_MAX = 200
Stranger = Request[Any, Any, Any]
ChannelName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}$(?!\n)", description="Such as alipay.")]


class NewAttempt(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """By which channel the order is to be paid."""

    channel: ChannelName


class AttemptView(msgspec.Struct, rename="camel"):
    """An attempt as its payer sees it: a QR code to scan or a URL to go to while it is open."""

    attempt_id: str
    pay_order_id: str
    channel: str
    state: AttemptState
    amount: int
    currency: str
    created_at: datetime
    expires_at: datetime
    qr_code: str | None
    redirect_url: str | None
    code: str


class AttemptList(msgspec.Struct):
    """Attempts, oldest first where they are one order's, newest first elsewhere."""

    attempts: list[AttemptView]


class SettlementView(msgspec.Struct, rename="camel"):
    """What people have said of an attempt: one asks, another one confirms."""

    outcome: Literal["paid", "not_paid"]
    reference: str
    note: str
    asked_by: str
    asked_at: datetime
    confirmed_by: str | None
    confirmed_at: datetime | None


class AttemptDetail(msgspec.Struct, rename="camel"):
    """An attempt as operators see it."""

    attempt: AttemptView
    transaction_id: str | None
    detail: str
    queries: int
    next_query_at: datetime | None
    settlement: SettlementView | None


class NewSettlement(msgspec.Struct, forbid_unknown_fields=True):
    """What has become of an attempt, by the channel's own records; ``reference`` is its number there."""

    outcome: Literal["paid", "not_paid"]
    note: Annotated[str, Meta(min_length=1, max_length=256)]
    reference: Annotated[str, Meta(max_length=255)] = ""


class WalletPayment(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The payer's consent, as the remote wallet asks for it."""

    pay_password: Annotated[str, Meta(min_length=1, max_length=128, description="1 to 128 characters.")]


def view(attempt: Attempt) -> AttemptView:
    """Show an attempt."""
    return AttemptView(
        attempt_id=str(attempt.id),
        pay_order_id=str(attempt.pay_order_id),
        channel=attempt.channel,
        state=attempt.state,
        amount=attempt.amount,
        currency=attempt.currency,
        created_at=attempt.created_at,
        expires_at=attempt.expires_at,
        qr_code=attempt.qr_code or None,
        redirect_url=attempt.redirect_url or None,
        code=attempt.code,
    )


def _settlement(row: Mapping[str, Any]) -> SettlementView:
    return SettlementView(**{name: row[name] for name in SettlementView.__struct_fields__})


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
    async def open_attempt(request: Caller, pay_order_id: PathId, data: JSONBody[NewAttempt]) -> AttemptView:
        number = parse_id(pay_order_id)
        return view(await service.open_window(number, request.user.user_id, data.channel, trace_of(request)))

    @get(
        "/{pay_order_id:str}/attempts",
        operation_id="readAttempts",
        summary="Read what was tried to pay an order by channels",
        responses=PROBLEMS.refusals(InvalidId, NotThePayer, PayOrderNotFound),
    )
    async def read_attempts(request: Caller, pay_order_id: PathId) -> AttemptList:
        found = await service.of_pay_order(parse_id(pay_order_id), request.user)
        return AttemptList([view(one) for one in found])

    return Router("/pay-orders", route_handlers=[open_attempt, read_attempts], tags=["attempts"])


def wallet_payment_routes(service: AttemptService) -> Router:
    """Return the route that pays out of a remote wallet, where that is what a balance is."""

    @post(
        "/{pay_order_id:str}/pay",
        operation_id="payPayOrder",
        summary="Pay out of the payer's balance at the remote wallet",
        status_code=200,
        responses=PROBLEMS.refusals(
            *WITH_A_BODY,
            InvalidId,
            InsufficientBalance,
            NotThePayer,
            WrongPayPassword,
            PayOrderNotFound,
            WalletNotFound,
            PayOrderClosed,
            PayPasswordLocked,
            AttemptNotFinal,
            ChannelNotOffered,
            ChannelRefused,
            ChannelUnavailable,
            OutcomeUnknown,
            Busy,
        )
        | {202: ResponseSpec(PayOrderView, description="Being confirmed", generate_examples=False)},
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
        answer = await notices.take(channel, dict(request.headers.items()), await request.body())
        return Response(answer.body, status_code=answer.status, media_type=answer.content_type)

    return Router("/channels", route_handlers=[take_notice])


def operator_routes(settling: Settling, merchant_id: str) -> Router:
    """Return the routes of operators."""

    @get(
        "/",
        operation_id="listAttempts",
        summary="List attempts, newest first",
        opt=scope("ops:read"),
        responses=PROBLEMS.refusals(InvalidId, InsufficientScope),
    )
    async def list_attempts(
        attempt_state: FromQuery[AttemptState | None] = None, before: FromQuery[str | None] = None
    ) -> AttemptList:
        after = ID_MAX if before is None else parse_id(before)
        return AttemptList([view(one) for one in await settling.list(attempt_state, after, PAGE_MAX)])

    @get(
        "/{attempt_id:str}",
        operation_id="readAttempt",
        summary="Read an attempt and what people have said of it",
        opt=scope("ops:read"),
        responses=PROBLEMS.refusals(InvalidId, InsufficientScope, UnknownAttempt),
    )
    async def read_attempt(attempt_id: PathId) -> AttemptDetail:
        attempt, settlement = await settling.read(parse_id(attempt_id))
        return AttemptDetail(
            attempt=view(attempt),
            transaction_id=attempt.transaction_id,
            detail=attempt.detail,
            queries=attempt.queries,
            next_query_at=attempt.next_query_at,
            settlement=None if settlement is None else _settlement(settlement),
        )

    @post(
        "/{attempt_id:str}/settlements",
        operation_id="settleAttempt",
        summary="Settle an attempt by hand: ask for it, or confirm it as a second person",
        status_code=200,
        opt=scope("ops:repair"),
        responses=PROBLEMS.refusals(
            *WITH_A_BODY,
            InvalidId,
            InvalidText,
            InsufficientScope,
            UnknownAttempt,
            NothingToSettle,
            SecondPersonNeeded,
            SettlementDiffers,
            OutcomeUnknown,
            Busy,
        ),
    )
    async def settle_attempt(
        request: Caller, attempt_id: PathId, data: JSONBody[NewSettlement]
    ) -> AttemptView:
        wanted = Settlement(
            data.outcome,
            check_text(data.reference, "reference"),
            check_text(data.note, "note"),
            request.user.user_id,
        )
        attempt, _ = await settling.settle(parse_id(attempt_id), wanted)
        return view(attempt)

    handlers = [list_attempts, read_attempt, settle_attempt]
    return Router("/attempts", route_handlers=handlers, opt=scopes_of(merchant_id), tags=["operations"])
