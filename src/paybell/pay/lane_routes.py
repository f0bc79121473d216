"""The paying route once more, past the framework: the one request that comes a thousand times a second.

It takes only what is exactly as documented and leaves everything else, body included, to the framework's
route, which has every refusal of form and the OpenAPI description. Both call the same service and show the
same view. Why, and what it saves: `docs/decisions/pay-lane.md`.
"""

import re
from typing import Any

import msgspec
from litestar.types import (
    ASGIApp,
    HTTPRequestEvent,
    HTTPResponseBodyEvent,
    HTTPResponseStartEvent,
    HTTPScope,
    Receive,
    Send,
)

from paybell.errors import PaybellError
from paybell.ids import parse_id
from paybell.pay.paying_routes import Payment
from paybell.pay.problems import PROBLEMS
from paybell.pay.routes import view
from paybell.pay.service import PayService
from paybell.pay.settlement import PaymentRequest
from paybell.tokens import Tokens
from paybell.tracecontext import trace_from
from paybell.wallet.pay_password import check_pay_password
from paybell.web.auth import bearer_of
from paybell.web.bodies import JSON, REQUEST_BODY_MAX, read_body
from paybell.web.error_handlers import ErrorHandlers

_PATH = re.compile(r"/pay-orders/([0-9]{1,19})/pay", re.ASCII)
_encode = msgspec.json.Encoder().encode


class PayLane:
    """An ASGI application before another one."""

    def __init__(self, app: ASGIApp, service: PayService, tokens: Tokens) -> None:
        self._app = app
        self._service = service
        self._tokens = tokens
        self._errors = ErrorHandlers(PROBLEMS)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer a payment, or hand the request on as it came."""
        match = _PATH.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if match is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        first: Any = await receive()
        try:
            payment = self._read(match[1], scope, first)
        except (PaybellError, _Unusual):
            await self._app(scope, _again(first, receive), send)
            return
        try:
            body = _encode(view(await self._service.pay(payment)))
        except Exception as error:  # noqa: BLE001 - refusals and bugs leave by one door
            await self._errors.refuse(error, scope, receive, send)
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send(HTTPResponseStartEvent(type="http.response.start", status=200, headers=headers))
        await send(HTTPResponseBodyEvent(type="http.response.body", body=body, more_body=False))

    def _read(self, pay_order_id: str, scope: HTTPScope, first: HTTPRequestEvent) -> PaymentRequest:
        headers = dict(scope["headers"])
        if (
            first["type"] != "http.request"
            or first.get("more_body")
            or len(first["body"]) > REQUEST_BODY_MAX
            or headers.get(b"content-type") != JSON.encode()
        ):
            raise _Unusual
        caller = self._tokens.verify(bearer_of(scope["headers"]))
        data: Payment = read_body(first["body"], Payment)
        return PaymentRequest(
            pay_order_id=parse_id(pay_order_id),
            payer_id=caller.user_id,
            pay_password=check_pay_password(data.pay_password),
            traceparent=trace_from(headers.get(b"traceparent", b"").decode("latin-1")),
        )


class _Unusual(Exception):
    """Not the one form this lane is for."""


def _again(first: Any, receive: Receive) -> Receive:
    """Return a ``receive`` that begins with what was received already."""
    waiting = [first]

    async def again() -> Any:
        return waiting.pop() if waiting else await receive()

    return again
