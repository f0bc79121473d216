"""Clients that write down every answer: the journal is all the checker knows beside the databases."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from paybell.clock import SystemClock
from paybell.settings import read_settings
from paybell.testing.ports import LOOPBACK
from paybell.tokens import Tokens

PASSWORD, WRONG_PASSWORD = "123456", "654321"
MERCHANT = "1"
SHOP = "torture-shop"
_SHOP_SCOPES = ("wallets:write", "orders:write", "orders:read", "pay-orders:write", "pay-orders:read")
# What a client waits for an answer before it calls the outcome unknown; a lone payment takes 5 ms.
ANSWER_SECONDS = 4.0
# And then it tries again, some of the time.
RETRY_SECONDS = 0.3
# Less than the server's own 5 s, so that no request is sent into a connection it is closing.
_KEEP_ALIVE_SECONDS = 4.0
# Longer than any run, even with a clock that is skewed.
_TOKEN_SECONDS = 7 * 24 * 3600
UNKNOWN = "unknown"


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the journal: a request and its answer, or (``op`` plan) what is to be done with an order.

    ``code`` is ``ok``, a problem's code, or ``unknown`` when no answer came. ``digest`` tells answers apart.
    """

    op: str
    at: float
    code: str
    order: int = 0
    status: int = 0
    user: str = ""
    amount: int = 0
    key: str = ""
    digest: str = ""
    scenario: str = ""

    @property
    def known(self) -> bool:
        """Say whether the client learnt what became of its request."""
        return self.code not in (UNKNOWN, "outcome_unknown")


class Journal:
    """A client's own log: append-only, each line written out before the client goes on."""

    def __init__(self, path: Path) -> None:
        """Open it."""
        self._file = path.open("ab", buffering=0)
        self._encoder = msgspec.json.Encoder()

    def write(self, entry: Entry) -> None:
        """Append an entry."""
        self._file.write(self._encoder.encode(entry) + b"\n")


def read_journals(home: Path) -> Iterator[Entry]:
    """Return every entry of every journal of a run."""
    decoder = msgspec.json.Decoder(Entry)
    for path in sorted(home.glob("*.journal")):
        with path.open("rb") as file:
            for text in file:
                yield decoder.decode(text)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; ``code`` as in `Entry`."""

    code: str
    body: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Say whether it was done."""
        return self.code == "ok"

    @property
    def try_again(self) -> bool:
        """Say whether the same request may yet be answered otherwise."""
        return self.code in TRY_AGAIN


# A service that says so may answer the same request otherwise.
TRY_AGAIN = frozenset(
    (
        UNKNOWN,
        "outcome_unknown",
        "database_unavailable",
        "database_busy",
        "busy",
        "pay_service_unavailable",
        "overloaded",
        "unavailable",
        "not_ready",
        "idempotency_key_in_use",
        "channel_unavailable",
    )
)


class Client:
    """The shop and its buyers."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        pay: int,
        trade: int,
        secret: str,
        log: Journal,
        *,
        sandbox: str = "",
    ) -> None:
        """Use `client`."""
        self._sandbox = sandbox
        self._session = session
        self._pay, self._trade = f"http://{LOOPBACK}:{pay}", f"http://{LOOPBACK}:{trade}"
        self._clock = SystemClock()
        self._tokens = Tokens.from_settings(read_settings({}, jwt_secret=secret), self._clock)
        self._headers: dict[str, dict[str, str]] = {}
        self.journal = log

    def plan(self, order: int, buyer: str, amount: int, scenario: str) -> None:
        """Write down what an order is for."""
        at = self._clock.now().timestamp()
        self.journal.write(Entry("plan", at, "ok", order=order, user=buyer, amount=amount, scenario=scenario))

    async def open_wallet(self, user: str) -> Answer:
        """Open a wallet."""
        body = {"userId": user, "payPassword": PASSWORD}
        return await self._ask("open", f"{self._pay}/wallets", SHOP, body, user=user)

    async def top_up(self, user: str, amount: int, key: str) -> Answer:
        """Put money into a wallet."""
        url = f"{self._pay}/wallets/{user}/top-ups"
        return await self._ask("top_up", url, SHOP, {"amount": amount}, user=user, amount=amount, key=key)

    async def apply(self, order: int, buyer: str, amount: int, seconds: int) -> Answer:
        """Apply for a pay order directly, with a deadline."""
        body = {"bizOrderNo": str(order), "payerId": buyer, "amount": amount, "expiresInSeconds": seconds}
        return await self._ask("apply", f"{self._pay}/pay-orders", SHOP, body, order=order)

    async def create(self, order: int, buyer: str, amount: int) -> Answer:
        """Create an order at trade, and by that its pay order."""
        body = {"orderId": str(order), "buyerId": buyer, "totalFee": amount}
        return await self._ask("create", f"{self._trade}/orders", SHOP, body, order=order)

    async def pay(self, order: int, pay_order: str, user: str, password: str = PASSWORD) -> Answer:
        """Pay."""
        url = f"{self._pay}/pay-orders/{pay_order}/pay"
        op = "pay" if password == PASSWORD else "pay_wrong"
        return await self._ask(op, url, user, {"payPassword": password}, order=order, user=user)

    async def close(self, order: int, pay_order: str) -> Answer:
        """Close the pay order."""
        return await self._ask("close", f"{self._pay}/pay-orders/{pay_order}/close", SHOP, order=order)

    async def attempt(self, order: int, pay_order: str, user: str, channel: str) -> Answer:
        """Open a window of a channel, or read the one that is open."""
        url = f"{self._pay}/pay-orders/{pay_order}/attempts"
        return await self._ask("attempt", url, user, {"channel": channel}, order=order, user=user)

    async def scan(self, order: int, channel: str, number: str) -> Answer:
        """Pay a window at its channel, as its buyer does there."""
        url = f"{self._sandbox}/sandbox/{channel}/payments"
        return await self._ask("scan", url, SHOP, {"number": number}, order=order)

    async def cancel(self, order: int, buyer: str) -> Answer:
        """Cancel the order."""
        return await self._ask("cancel", f"{self._trade}/orders/{order}/cancel", buyer, order=order)

    async def status(self, order: int) -> str:
        """Return what trade says of an order, empty if it says nothing; not journalled."""
        try:
            async with self._session.get(f"{self._trade}/orders/{order}", headers=self._as(SHOP)) as response:
                body = msgspec.json.decode(await response.read())
                return str(body["status"]) if response.ok else ""
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError):
            return ""

    async def _ask(
        self, op: str, url: str, caller: str, body: Mapping[str, object] | None = None, **facts: Any
    ) -> Answer:
        data = None if body is None else msgspec.json.encode(body)
        headers = self._as(caller) | ({"Idempotency-Key": facts["key"]} if "key" in facts else {})
        status, content, answer = 0, b"", Answer(UNKNOWN, {})
        try:
            async with self._session.post(url, data=data, headers=headers) as response:
                content, status = await response.read(), response.status
            answer = _read(status, content)
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass
        finally:  # also when nobody waits for the answer any more
            digest = hashlib.sha256(content).hexdigest()[:16] if answer.ok else ""
            at = self._clock.now().timestamp()
            self.journal.write(Entry(op, at, answer.code, status=status, digest=digest, **facts))
        return answer

    def _as(self, caller: str) -> dict[str, str]:
        if caller not in self._headers:
            scopes = _SHOP_SCOPES if caller == SHOP else ()
            token = self._tokens.mint(caller, *scopes, lifetime_seconds=_TOKEN_SECONDS)
            self._headers[caller] = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return self._headers[caller]


def _read(status: int, content: bytes) -> Answer:
    if status == 204:  # noqa: PLR2004
        return Answer("ok", {})
    try:
        body = msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.MsgspecError:  # a server that has had enough
        return Answer(UNKNOWN if status == 503 else f"http_{status}", {})  # noqa: PLR2004
    if status in (200, 201):
        return Answer("ok", body)
    return Answer(str(body.get("code", f"http_{status}")), body)


@asynccontextmanager
async def client(
    pay: int,
    trade: int,
    secret: str,
    journal: Path,
    *,
    connections: int,
    fresh: bool = False,
    sandbox: str = "",
) -> AsyncIterator[Client]:
    """Open one that goes to these ports; ``fresh``: each request on a connection of its own."""
    connector = (
        aiohttp.TCPConnector(limit=connections, force_close=True)
        if fresh
        else aiohttp.TCPConnector(limit=connections, keepalive_timeout=_KEEP_ALIVE_SECONDS)
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
    ) as session:
        yield Client(session, pay, trade, secret, Journal(journal), sandbox=sandbox)


async def patiently(ask: Callable[[], Awaitable[Answer]], seconds: float) -> Answer:
    """Ask again with the same ids until there is an answer, or patience ends; return the last one."""
    clock = SystemClock()
    deadline = clock.monotonic() + seconds
    while True:
        answer = await ask()
        if not answer.try_again or clock.monotonic() > deadline:
            return answer
        await asyncio.sleep(RETRY_SECONDS)
