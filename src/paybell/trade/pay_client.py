"""How the order service speaks to the pay service: its public HTTP API, nothing else."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus

import msgspec

from paybell.clock import Clock
from paybell.errors import AlreadyPaid, AttemptNotFinal, PaybellError, PayOrderClosed
from paybell.ids import IDS_MAX
from paybell.messaging.events import PayOrderData
from paybell.tokens import Tokens
from paybell.trade.errors import (
    OrderMismatch,
    PayServiceUnavailable,
    RefundFailed,
    RefundPending,
    RefundRefused,
)
from paybell.trade.model import Order
from paybell.trade.pay_answers import (
    ApplicationAnswer,
    ApplicationAnswers,
    Applied,
    Payments,
    Problem,
    Refunded,
    States,
)
from paybell.trade.pay_connection import NOT_OFFERED, PayConnection

# A question that is answered so is wrong by itself; any other refusal would meet every question.
_QUESTION_REFUSED = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.REQUEST_URI_TOO_LONG}


class QuestionRefused(PaybellError):
    """Pay does not want this question; another one may do."""

    code = "pay_refused"


class PayClient:
    """The pay service as the order service sees it."""

    def __init__(self, connection: PayConnection) -> None:
        """Use `PayClient.open`."""
        self._pay = connection

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, tokens: Tokens, clock: Clock) -> AsyncIterator["PayClient"]:
        """Keep a bounded number of connections to the pay service at ``url``."""
        async with PayConnection.open(url, tokens, clock) as connection:
            yield cls(connection)

    async def check(self) -> None:
        """Make sure that the pay service is there and takes our tokens; errors as `PayConnection.check`."""
        await self._pay.check()

    async def apply(self, order: Order, traceparent: str) -> int:
        """Return the id of the order's pay order, made if it is missing.

        Raises:
            PayServiceUnavailable: pay did not answer. PayOrderClosed, OrderMismatch: it refused.
        """
        status, answer = await self._pay.ask("POST", "/pay-orders", traceparent, _application(order))
        return self._applied(status, answer)

    async def apply_for_many(self, orders: Sequence[Order]) -> list[int | PaybellError] | None:
        """Return what `apply` returns or raises for each of up to `IDS_MAX`; None: pay does not offer it.

        Raises:
            PayServiceUnavailable: pay did not answer.
        """
        body: dict[str, object] = {"payOrders": [_application(order) for order in orders]}
        status, answer = await self._pay.ask("POST", "/pay-orders/batch", "", body, optional=True)
        if status in NOT_OFFERED:
            return None
        answers = self._pay.read(answer, ApplicationAnswers).answers if status == HTTPStatus.OK else []
        if len(answers) != len(orders):
            raise PayServiceUnavailable
        return [self._applied_or_refused(one) for one in answers]

    def _applied_or_refused(self, one: ApplicationAnswer) -> int | PaybellError:
        try:
            made = one.status in (HTTPStatus.OK, HTTPStatus.CREATED)
            return self._applied(one.status, bytes(one.pay_order if made else one.problem))
        except PaybellError as error:
            return error

    def _applied(self, status: int, answer: bytes) -> int:
        if status in (HTTPStatus.OK, HTTPStatus.CREATED):
            return int(self._pay.read(answer, Applied).pay_order_id)
        match self._pay.read(answer, Problem).code:
            case "already_paid":  # made and paid before, and its event has not arrived
                return int(self._pay.read(answer, Applied).pay_order_id)
            case "pay_order_closed":
                raise PayOrderClosed
            case "pay_order_mismatch":
                raise OrderMismatch
        raise PayServiceUnavailable

    async def close(self, pay_order_id: int, traceparent: str) -> None:
        """Close a pay order; pay is the judge of what was first, the payment or this.

        Raises:
            AlreadyPaid: the payment was. AttemptNotFinal: a payment is being confirmed.
            PayServiceUnavailable: nobody knows yet.
        """
        status, answer = await self._pay.ask("POST", f"/pay-orders/{pay_order_id}/close", traceparent)
        match self._pay.read(answer, Problem).code:
            case "already_paid":
                raise AlreadyPaid
            case "attempt_not_final":
                raise AttemptNotFinal
        if status != HTTPStatus.OK:
            raise PayServiceUnavailable

    async def refund(self, state: PayOrderData, amount: int, number: str, traceparent: str) -> PayOrderData:
        """Give back so much (minor units) of a payment, once for each number; return what pay says after it.

        Raises:
            RefundRefused: pay says why not. RefundPending: it is on its way by a channel.
            RefundFailed: the channel refused it, for good.
            PayServiceUnavailable: nobody knows yet.
        """
        path = f"/pay-orders/{state.pay_order_id}/refunds"
        status, answer = await self._pay.ask("POST", path, traceparent, {"amount": amount}, number)
        if status != HTTPStatus.CREATED:
            raise RefundRefused(f"Pay refused the refund: {self._pay.read(answer, Problem).code}.")
        refunded = self._pay.read(answer, Refunded)
        if refunded.status == "FAILED":
            raise RefundFailed
        if refunded.status != "SUCCEEDED":
            raise RefundPending
        return msgspec.structs.replace(
            state, version=refunded.version, refunded_amount=refunded.refunded_amount
        )

    async def paid_among(self, biz_order_nos: Collection[int]) -> dict[int, tuple[int, str]]:
        """Return amount (minor units) and currency of those business orders that pay says are paid.

        Raises:
            PayServiceUnavailable: unknown, which is never the same as unpaid.
            QuestionRefused: one of these is no number pay can know.
        """
        return {
            int(payment.biz_order_no): (payment.amount, payment.currency)
            async for page in self._pages(biz_order_nos)
            for payment in self._pay.read(page, Payments).pay_orders
            if payment.status == "TRADE_SUCCESS"
        }

    async def states_of(self, biz_order_nos: Collection[int]) -> dict[int, PayOrderData]:
        """Return what pay says now of those business orders it has pay orders for.

        Raises:
            PayServiceUnavailable: unknown, which is never the same as unpaid.
            QuestionRefused: one of these is no number pay can know.
        """
        return {
            int(state.biz_order_no): state
            async for page in self._pages(biz_order_nos)
            for state in self._pay.read(page, States).pay_orders
        }

    async def _pages(self, biz_order_nos: Collection[int]) -> AsyncIterator[bytes]:
        numbers = sorted(biz_order_nos)
        for start in range(0, len(numbers), IDS_MAX):
            query = ",".join(map(str, numbers[start : start + IDS_MAX]))
            status, answer = await self._pay.ask("GET", f"/pay-orders?bizOrderNos={query}", "")
            if status in _QUESTION_REFUSED:
                raise QuestionRefused(f"Pay answered {status} {self._pay.read(answer, Problem).code}.")
            if status != HTTPStatus.OK:
                raise PayServiceUnavailable
            yield answer


def _application(order: Order) -> dict[str, object]:
    return {
        "bizOrderNo": str(order.id),
        "payerId": order.buyer_id,
        "amount": order.total_fee,
        "currency": order.currency,
        "subject": order.subject,
    }
