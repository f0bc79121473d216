"""Requests to the pay service: with a token of ours, and answered by a pay service or not at all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp
import msgspec
import structlog

from paybell.clock import Clock
from paybell.errors import Misconfigured
from paybell.tokens import OwnTokens, Tokens
from paybell.trade.errors import PayServiceUnavailable

log = structlog.get_logger()

# A buyer waits for this answer; pay answers in milliseconds or not at all.
TIMEOUT_SECONDS = 5.0
CONNECTIONS_MAX = 64
# Several times what the states of as many pay orders come to as one question may name.
ANSWER_BYTES_MAX = 1 << 20
_SCOPES = ("pay-orders:write", "pay-orders:read", "refunds:write")
# The same wrong answer is logged this often; each request that met it has its own refusal.
_REPORT_SECONDS = 30.0
# What an older or a foreign pay service answers to a route that it may lack.
NOT_OFFERED = {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}

Expected = TypeVar("Expected")


class PayConnection:
    """Who answers at the pay service's URL."""

    def __init__(self, session: aiohttp.ClientSession, url: str, tokens: Tokens, clock: Clock) -> None:
        """Use `PayConnection.open`."""
        self._session = session
        self._url = url.rstrip("/")
        self._tokens = OwnTokens(tokens, clock)
        self._clock = clock
        self._reported: dict[str, float] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, tokens: Tokens, clock: Clock) -> AsyncIterator["PayConnection"]:
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

    async def ask(
        self,
        method: str,
        path: str,
        traceparent: str,
        body: dict[str, object] | None = None,
        idempotency_key: str = "",
        *,
        optional: bool = False,
    ) -> tuple[int, bytes]:
        """Ask, and return status and body.

        Args:
            method: of HTTP.
            path: with its query.
            traceparent: of W3C Trace Context; empty: none.
            body: as JSON.
            idempotency_key: under which it may be repeated; empty: none.
            optional: the route may be missing; then the body is empty.

        Raises:
            PayServiceUnavailable: pay did not answer.
        """
        headers: dict[str, str] = {}
        if traceparent:
            headers["traceparent"] = traceparent
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else msgspec.json.encode(body)
        status, location, content = await self._request(method, path, headers, data)
        if optional and status in NOT_OFFERED:
            return status, b""
        if wrong := _wrong(status, location, content):
            self._report(wrong)
            raise PayServiceUnavailable
        return status, content

    def read(self, answer: bytes, expected: type[Expected]) -> Expected:
        """Read an answer.

        Raises:
            PayServiceUnavailable: it has another shape, so it comes from no pay service of this contract.
        """
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
                content = bytearray()
                while len(content) <= ANSWER_BYTES_MAX and (
                    more := await response.content.read(ANSWER_BYTES_MAX + 1 - len(content))
                ):
                    content += more
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise PayServiceUnavailable from error
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise PayServiceUnavailable
        return response.status, response.headers.get("Location", ""), bytes(content)

    def _report(self, wrong: str) -> None:
        now = self._clock.monotonic()
        if now >= self._reported.get(wrong, now):
            self._reported[wrong] = now + _REPORT_SECONDS
            log.error("pay_service_refuses", reason=f"PAYBELL_PAY_URL: {wrong}.")


def _wrong(status: int, location: str, content: bytes) -> str:
    """Return why an answer cannot be the pay service's to us; empty if it can."""
    if status == HTTPStatus.UNAUTHORIZED:
        return "it answers 401; trade and pay need the same PAYBELL_JWT_SECRET"
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return f"it answers {status} and leads to {location}; set the URL that is meant"
    if len(content) > ANSWER_BYTES_MAX:
        return f"it answers {status} with more than {ANSWER_BYTES_MAX} bytes; it must lead to the pay service"
    try:
        msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return f"it answers {status} without a JSON object; it must lead to the pay service"
    return ""
