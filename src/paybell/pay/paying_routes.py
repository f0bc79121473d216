"""The route that pays: described once, for balances of ours and for those of a remote wallet."""

from collections.abc import Collection

import msgspec
from litestar import Router, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody

from paybell.errors import AttemptNotFinal, Busy, InvalidId, OutcomeUnknown, PaybellError, PayOrderClosed
from paybell.ids import parse_id
from paybell.pay.errors import NotThePayer, PayOrderNotFound
from paybell.pay.problems import PROBLEMS
from paybell.pay.routes import PayOrderView, view
from paybell.pay.service import PayService
from paybell.pay.settlement import PaymentRequest
from paybell.wallet.errors import InsufficientBalance, PayPasswordLocked, WalletNotFound, WrongPayPassword
from paybell.wallet.pay_password import check_pay_password
from paybell.web.auth import Caller, trace_of
from paybell.web.fields import PathId, SixDigits
from paybell.web.refusals import WITH_A_BODY, ProblemTypes


class Payment(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The payer's consent."""

    pay_password: SixDigits


def paying(
    summary: str,
    problems: ProblemTypes,
    refusals: Collection[type[PaybellError]] = (),
    answers: dict[int, ResponseSpec] | None = None,
) -> post:
    """Describe the route that pays out of a balance.

    Args:
        summary: says whose the balance is.
        problems: the statuses of all it may refuse with.
        refusals: those that only such a balance has.
        answers: besides the order that is paid.
    """
    return post(
        "/{pay_order_id:str}/pay",
        operation_id="payPayOrder",
        summary=summary,
        status_code=200,
        responses=problems.refusals(
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
            *refusals,
            OutcomeUnknown,
            Busy,
        )
        | (answers or {}),
    )


def paying_routes(service: PayService) -> Router:
    """Return the route that pays out of a balance of ours."""

    @paying("Pay out of the payer's balance", PROBLEMS)
    async def pay(request: Caller, pay_order_id: PathId, data: JSONBody[Payment]) -> PayOrderView:
        payment = PaymentRequest(
            pay_order_id=parse_id(pay_order_id),
            payer_id=request.user.user_id,
            pay_password=check_pay_password(data.pay_password),
            traceparent=trace_of(request),
        )
        return view(await service.pay(payment))

    return Router("/pay-orders", route_handlers=[pay], tags=["pay orders"])
