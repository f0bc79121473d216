"""A client of Paybell's HTTP API, quick enough to pay a whole purchase log.

Every request may be sent again: orders carry the caller's own id, paying a paid order answers
the same, a top-up has its key. So an outage is waited out, for a bounded time.
"""

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from paybell.backoff import exponential
from paybell.clock import Clock
from paybell.errors import InvalidRequest, Misconfigured, Unavailable
from paybell.idempotency.errors import IdempotencyKeyInUse
from paybell.tokens import OwnTokens, Tokens

# What the shop's backend may do; buyers' tokens carry no scope at all.
SHOP = "paybell-shop"
SHOP_SCOPES = (
    "wallets:write",
    "wallets:read",
    "orders:write",
    "orders:read",
    "pay-orders:write",
    "refunds:write",
)

OK, CREATED, UNAUTHORIZED, TOO_BUSY = 200, 201, 401, 503
_REQUEST_SECONDS = 10.0
_RETRY_FIRST_SECONDS, _RETRY_MOST_SECONDS, _RETRY_AFTER_MOST_SECONDS = 0.05, 2.0, 10.0
# Less than the server's own 5 s, so that no request is sent into a connection it is closing.
_KEEP_ALIVE_SECONDS = 4.0
_JSON = "application/json"

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ServiceAnswer:
    """What the service said; ``code`` is the problem's stable code, empty when there is none."""

    status: int
    code: str
    body: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Say whether it was done."""
        return self.status in (OK, CREATED)


class PaybellClient:
    """The shop's backend and all its buyers, as the service sees them."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        tokens: Tokens,
        clock: Clock,
        retry_seconds: float,
        *,
        shop: str,
    ) -> None:
        """Use `PaybellClient.open`."""
        self._session = session
        self._url = url.rstrip("/")
        self._tokens = OwnTokens(tokens, clock)
        self._clock = clock
        self._retry_seconds = retry_seconds
        self._shop_name = shop
        self._jitter = random.Random()  # noqa: S311 - spreads retries, keeps no secret

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        tokens: Tokens,
        clock: Clock,
        *,
        connections: int = 64,
        retry_seconds: float = 20.0,
        shop: str = SHOP,
    ) -> AsyncIterator["PaybellClient"]:
        """Keep at most ``connections`` to the service at ``url``.

        Args:
            url: http://… or https://….
            tokens: mints with the service's own secret.
            clock: measures retries and token lifetimes.
            connections: at most; further requests wait for a free one.
            retry_seconds: how long a request is sent again before it raises `Unavailable`.
            shop: the name of the shop's backend, as the service sees it.

        Raises:
            InvalidRequest: the URL is none.
        """
        if not url.startswith(("http://", "https://")):
            raise InvalidRequest(f"The URL of a service starts with http:// or https://, not {url[:100]!r}.")
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=_KEEP_ALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=_REQUEST_SECONDS),
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
        ) as session:
            yield cls(session, url, tokens, clock, retry_seconds, shop=shop)

    async def open_wallet(self, user_id: str, pay_password: str, currency: str) -> ServiceAnswer:
        """Open a wallet; 409 ``wallet_exists`` when there is one."""
        body = {"userId": user_id, "payPassword": pay_password, "currency": currency}
        return await self._send("POST", "/wallets", self._shop(), body)

    async def top_up(self, user_id: str, amount: int, currency: str, key: str) -> ServiceAnswer:
        """Put ``amount`` minor units into a wallet, once for each key."""
        headers = {**self._shop(), "Idempotency-Key": key}
        body = {"amount": amount, "currency": currency}
        return await self._send("POST", f"/wallets/{user_id}/top-ups", headers, body)

    async def read_wallet(self, user_id: str, currency: str) -> ServiceAnswer:
        """Read a balance, as the wallet's owner."""
        return await self._send("GET", f"/wallets/{user_id}?currency={currency}", self._buyer(user_id))

    async def create_order(
        self, order_id: int, buyer_id: str, total_fee: int, currency: str, subject: str
    ) -> ServiceAnswer:
        """Create an order with its pay order, or get the one of this id; the fee in minor units."""
        body = {
            "orderId": str(order_id),
            "buyerId": buyer_id,
            "totalFee": total_fee,
            "currency": currency,
            "subject": subject,
        }
        return await self._send("POST", "/orders", self._shop(), body)

    async def apply(
        self, order_id: int, payer_id: str, amount: int, currency: str, subject: str, *, seconds: int
    ) -> ServiceAnswer:
        """Apply for an order's pay order, to be paid within so long, or get the one there is."""
        body = {
            "bizOrderNo": str(order_id),
            "payerId": payer_id,
            "amount": amount,
            "currency": currency,
            "subject": subject,
            "expiresInSeconds": seconds,
        }
        return await self._send("POST", "/pay-orders", self._shop(), body)

    async def read_orders(self, order_ids: Sequence[int]) -> list[dict[str, Any]]:
        """Return those of at most `IDS_MAX` orders that exist.

        Raises:
            Unavailable: the service refuses to tell.
        """
        answer = await self._send("GET", f"/orders?ids={','.join(map(str, order_ids))}", self._shop())
        if not answer.ok:
            raise Unavailable(f"The service does not list orders: {answer.status} {answer.code}.")
        orders: list[dict[str, Any]] = answer.body["orders"]
        return orders

    async def cancel_order(self, order_id: int, buyer_id: str) -> ServiceAnswer:
        """Cancel an order, as its buyer."""
        return await self._send("POST", f"/orders/{order_id}/cancel", self._buyer(buyer_id))

    async def open_attempt(self, pay_order_id: str, user_id: str, channel: str) -> ServiceAnswer:
        """Open a window of a channel as the buyer, or read the one that is open."""
        path = f"/pay-orders/{pay_order_id}/attempts"
        return await self._send("POST", path, self._buyer(user_id), {"channel": channel})

    async def pay(self, pay_order_id: str, user_id: str, pay_password: str) -> ServiceAnswer:
        """Pay out of this user's wallet."""
        body = {"payPassword": pay_password}
        return await self._send("POST", f"/pay-orders/{pay_order_id}/pay", self._buyer(user_id), body)

    async def refund(self, pay_order_id: str, amount: int, key: str) -> ServiceAnswer:
        """Give so many minor units back, once for each key."""
        headers = {**self._shop(), "Idempotency-Key": key}
        return await self._send("POST", f"/pay-orders/{pay_order_id}/refunds", headers, {"amount": amount})

    def _shop(self) -> Headers:
        return self._headers_of(self._shop_name, *SHOP_SCOPES)

    def _buyer(self, user_id: str) -> Headers:
        return self._headers_of(user_id)

    def _headers_of(self, user_id: str, *scopes: str) -> Headers:
        return {"Authorization": self._tokens.bearer(user_id, *scopes), "Content-Type": _JSON}

    async def _send(
        self, method: str, path: str, headers: Headers, body: Mapping[str, object] | None = None
    ) -> ServiceAnswer:
        """Send a request until it is answered; raise `Unavailable` when that takes too long."""
        url = URL(self._url + path, encoded=True)
        data = None if body is None else msgspec.json.encode(body)
        waits = exponential(first=_RETRY_FIRST_SECONDS, limit=_RETRY_MOST_SECONDS, jitter=self._jitter)
        deadline = 0.0
        while True:
            try:
                answer, wait_seconds = await self._once(method, url, headers, data)
                if answer.status != TOO_BUSY and answer.code != IdempotencyKeyInUse.code:
                    return self._believed(answer)
                trouble = f"it answers {answer.code}"
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                trouble, wait_seconds = str(error) or type(error).__name__, 0.0
            now = self._clock.monotonic()
            deadline = deadline or now + self._retry_seconds
            wait_seconds = max(wait_seconds, next(waits))
            if now + wait_seconds > deadline:
                raise Unavailable(
                    f"The service at {self._url} is away for longer than {self._retry_seconds:g} s "
                    f"({trouble}); run the same command again when it is back."
                )
            await self._clock.sleep(wait_seconds)

    async def _once(
        self, method: str, url: URL, headers: Headers, data: bytes | None
    ) -> tuple[ServiceAnswer, float]:
        async with self._session.request(
            method, url, headers=headers, data=data, allow_redirects=False
        ) as response:
            content = await response.read()
            after = response.headers.get("Retry-After", "") if response.status == TOO_BUSY else ""
            wait_seconds = min(float(after), _RETRY_AFTER_MOST_SECONDS) if after.isdecimal() else 0.0
            return _answer(response.status, content), wait_seconds

    def _believed(self, answer: ServiceAnswer) -> ServiceAnswer:
        if answer.status == UNAUTHORIZED or answer.code == "insufficient_scope":
            raise Misconfigured(
                f"The service at {self._url} does not accept our tokens: set the PAYBELL_JWT_SECRET it has, "
                "or the same PAYBELL_HOME."
            )
        return answer


def _answer(status: int, content: bytes) -> ServiceAnswer:
    try:
        body = msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.MsgspecError:  # a proxy, or a server that has had enough
        return ServiceAnswer(status, f"http_{status}", {})
    return ServiceAnswer(status, "" if status < 300 else str(body.get("code", f"http_{status}")), body)  # noqa: PLR2004
