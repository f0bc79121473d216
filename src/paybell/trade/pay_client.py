"""How the order service speaks to the pay service: its public HTTP API, nothing else."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp
import msgspec
import structlog

from paybell.clock import Clock
from paybell.errors import AlreadyPaid, AttemptNotFinal, Misconfigured, PaybellError, PayOrderClosed
from paybell.ids import IDS_MAX
from paybell.messaging.events import PayOrderData
from paybell.tokens import OwnTokens, Tokens
from paybell.trade.errors import OrderMismatch, PayServiceUnavailable, RefundPending, RefundRefused
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

log = structlog.get_logger()

# A buyer waits for this answer; pay answers in milliseconds or not at all.
TIMEOUT_SECONDS = 5.0
_SCOPES = ("pay-orders:write", "pay-orders:read", "refunds:write")
# The same wrong answer is logged this often; each request that met it has its own refusal.
_REPORT_SECONDS = 30.0
CONNECTIONS_MAX = 64
# A question that is answered so is wrong by itself; any other refusal would meet every question.
_QUESTION_REFUSED = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.REQUEST_URI_TOO_LONG}

# What an older or a foreign pay service answers to a route that it may lack.
_NOT_OFFERED = {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}

Expected = TypeVar("Expected")


class QuestionRefused(PaybellError):
    """Pay does not want this question; another one may do."""

    code = "pay_refused"


class PayClient:
    """The pay service as the order service sees it."""

    def __init__(self, session: aiohttp.ClientSession, url: str, tokens: Tokens, clock: Clock) -> None:
        """Use `PayClient.open`."""
        self._session = session
        self._url = url.rstrip("/")
        self._tokens = OwnTokens(tokens, clock)
        self._clock = clock
        self._reported: dict[str, float] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, tokens: Tokens, clock: Clock) -> AsyncIterator["PayClient"]:
        """Keep a bounded number of connections to the pay service at ``url``."""
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
        ) as session:
            yield cls(session, url, tokens, clock)

    async def check(self) -> None:
        """Make sure that our URL leads to the pay service, and that it takes our tokens.

        Raises:
            Misconfigured: something else answers, or it has another secret.
            PayServiceUnavailable: nobody answers.
        """
        status, location, content = await self._request("GET", "/pay-orders?bizOrderNos=1", {})
        wrong = _wrong(status, location, content)
        if not wrong and (status != HTTPStatus.OK or b'"payOrders"' not in content):
            wrong = f"GET /pay-orders is answered with {status}; it must lead to the pay service"
        if wrong:
            raise Misconfigured(f"PAYBELL_PAY_URL: {wrong}.")

    async def apply(self, order: Order, traceparent: str) -> int:
        """Return the id of the order's pay order, made if it is missing.

        Raises:
            PayServiceUnavailable: pay did not answer. PayOrderClosed, OrderMismatch: it refused.
        """
        status, answer = await self._ask("POST", "/pay-orders", traceparent, _application(order))
        return self._applied(status, answer)

    async def apply_for_many(self, orders: Sequence[Order]) -> list[int | PaybellError] | None:
        """Return what `apply` returns or raises for each of up to `IDS_MAX`; None: pay does not offer it.

        Raises:
            PayServiceUnavailable: pay did not answer.
        """
        body: dict[str, object] = {"payOrders": [_application(order) for order in orders]}
        status, answer = await self._ask("POST", "/pay-orders/batch", "", body, optional=True)
        if status in _NOT_OFFERED:
            return None
        answers = self._read(answer, ApplicationAnswers).answers if status == HTTPStatus.OK else []
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
            return int(self._read(answer, Applied).pay_order_id)
        match self._read(answer, Problem).code:
            case "already_paid":  # made and paid before, and its event has not arrived
                return int(self._read(answer, Applied).pay_order_id)
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
        status, answer = await self._ask("POST", f"/pay-orders/{pay_order_id}/close", traceparent)
        match self._read(answer, Problem).code:
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
            PayServiceUnavailable: nobody knows yet.
        """
        path = f"/pay-orders/{state.pay_order_id}/refunds"
        status, answer = await self._ask("POST", path, traceparent, {"amount": amount}, number)
        if status != HTTPStatus.CREATED:
            raise RefundRefused(f"Pay refused the refund: {self._read(answer, Problem).code}.")
        refunded = self._read(answer, Refunded)
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
            for payment in self._read(page, Payments).pay_orders
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
            for state in self._read(page, States).pay_orders
        }

    async def _pages(self, biz_order_nos: Collection[int]) -> AsyncIterator[bytes]:
        numbers = sorted(biz_order_nos)
        for start in range(0, len(numbers), IDS_MAX):
            query = ",".join(map(str, numbers[start : start + IDS_MAX]))
            status, answer = await self._ask("GET", f"/pay-orders?bizOrderNos={query}", "")
            if status in _QUESTION_REFUSED:
                raise QuestionRefused(f"Pay answered {status} {self._read(answer, Problem).code}.")
            if status != HTTPStatus.OK:
                raise PayServiceUnavailable
            yield answer

    async def _ask(
        self,
        method: str,
        path: str,
        traceparent: str,
        body: dict[str, object] | None = None,
        idempotency_key: str = "",
        *,
        optional: bool = False,
    ) -> tuple[int, bytes]:
        headers: dict[str, str] = {}
        if traceparent:
            headers["traceparent"] = traceparent
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else msgspec.json.encode(body)
        status, location, content = await self._request(method, path, headers, data)
        if optional and status in _NOT_OFFERED:
            return status, b""
        if wrong := _wrong(status, location, content):
            self._report(wrong)
            raise PayServiceUnavailable
        return status, content

    def _read(self, answer: bytes, expected: type[Expected]) -> Expected:
        """Read an answer; one of another shape comes from no pay service of this contract."""
        try:
            return msgspec.json.decode(answer, type=expected)
        except msgspec.MsgspecError as error:
            self._report(f"what answers there does not keep to the contract of docs/pay-service.md ({error})")
            raise PayServiceUnavailable from error

    async def _request(
        self, method: str, path: str, headers: dict[str, str], data: bytes | None = None
    ) -> tuple[int, str, bytes]:
        """Send a request with our token; return status, ``Location`` and body of any answer below 500."""
        headers |= {"Authorization": self._tokens.bearer("paybell-trade", *_SCOPES)}
        try:
            async with self._session.request(
                method, self._url + path, data=data, headers=headers, allow_redirects=False
            ) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise PayServiceUnavailable from error
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise PayServiceUnavailable
        return response.status, response.headers.get("Location", ""), content

    def _report(self, wrong: str) -> None:
        now = self._clock.monotonic()
        if now >= self._reported.get(wrong, now):
            self._reported[wrong] = now + _REPORT_SECONDS
            log.error("pay_service_refuses", reason=f"PAYBELL_PAY_URL: {wrong}.")


def _application(order: Order) -> dict[str, object]:
    return {
        "bizOrderNo": str(order.id),
        "payerId": order.buyer_id,
        "amount": order.total_fee,
        "currency": order.currency,
        "subject": order.subject,
    }


def _wrong(status: int, location: str, content: bytes) -> str:
    """Return why an answer cannot be the pay service's to us; empty if it can."""
    if status == HTTPStatus.UNAUTHORIZED:
        return "it answers 401; trade and pay need the same PAYBELL_JWT_SECRET"
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return f"it answers {status} and leads to {location}; set the URL that is meant"
    try:
        msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return f"it answers {status} without a JSON object; it must lead to the pay service"
    return ""
