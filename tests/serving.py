"""A whole service for tests to talk to over HTTP: in this process, or as a process of its own."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Self

import aiohttp
import asyncpg
import msgspec
from litestar import Litestar
from support import PASSWORD, Databases, admin, connected, made_from, until

from paybell.clock import SystemClock
from paybell.serving.application import create_app
from paybell.serving.process import Served, serving
from paybell.settings import ROLES, Settings
from paybell.tokens import Tokens

SECRET = "test secret with at least 64 bytes, so that no algorithm calls it short"
PEPPER_SETTING = "test pepper with at least 32 bytes long"
SETTINGS = Settings(jwt_secret=SECRET, pin_pepper=PEPPER_SETTING)
SCOPES = (
    "pay-orders:write",
    "pay-orders:read",
    "wallets:write",
    "wallets:read",
    "pay-passwords:reset",
    "orders:write",
    "orders:read",
    "refunds:write",
    "refunds:read",
    "merchants:read",
    "ops:read",
    "ops:repair",
    "ops:refund",
)
SOCKET = ".s.PGSQL.5432"
# A process has to import the framework on a machine that others use too.
START_SECONDS = 60.0

_numbers = count(1)


def fresh_number() -> int:
    """Return a business order number or order id no other test uses."""
    return 10**12 + next(_numbers)


def fresh_user() -> str:
    """Return a user id no other test uses."""
    return f"u{next(_numbers)}"


async def fresh_databases(server: Databases) -> dict[str, str]:
    """Make databases of their own; return their URLs as `paybell.runtime` wants them."""
    urls = {}
    for name, beside in (("pay", server.pay), ("trade", server.trade)):
        database = f"serving_{name}_{next(_numbers)}"
        await admin(beside, made_from(database, name))
        urls[name] = beside.replace(f"/paybell_{name}", f"/{database}", 1)
    return urls


class Line:
    """The way to the embedded database server, which can be cut and mended."""

    def __init__(self, urls: Mapping[str, str], folder: Path) -> None:
        """Lead over ``folder`` to the databases of these URLs."""
        place = next(iter(urls.values())).partition("?host=")[2]
        self._real_urls = urls
        self._socket, self._real_socket = folder / SOCKET, Path(place) / SOCKET
        self.urls = {name: url.replace(f"?host={place}", f"?host={folder}") for name, url in urls.items()}
        self.mend()

    def mend(self) -> None:
        """Let connections through."""
        self._socket.symlink_to(self._real_socket)

    async def cut(self) -> None:
        """Refuse new connections, and break the ones there are."""
        self._socket.unlink()
        for url in self._real_urls.values():
            await end_connections(url)


async def end_connections(url: str) -> None:
    """Break every connection to a database but the one that does it."""
    async with connected(url) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer over HTTP."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body, which must be a JSON object."""
        return msgspec.json.decode(self.content, type=dict[str, Any])

    @property
    def refusal(self) -> tuple[int, str]:
        """Status and code of a problem document."""
        assert self.headers["Content-Type"] == "application/problem+json", self.content
        assert self.json["status"] == self.status
        return self.status, self.json["code"]


class Client:
    """Talks to one service. Every request names its token, so that a test shows who asks."""

    def __init__(self, session: aiohttp.ClientSession, url: str, tokens: Tokens) -> None:
        """Use `Client.open`."""
        self._session = session
        self.url = url
        self.tokens = tokens

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, secret: str = SECRET) -> AsyncIterator[Self]:
        """Open a session with a service that verifies tokens with this secret."""
        tokens = Tokens(secret, SystemClock(), merchant_id="1", require_expiry=False)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=30), auto_decompress=False
        ) as session:
            yield cls(session, url, tokens)

    def token(self, user: str, *scopes: str, merchant: str = "") -> str:
        """Mint a token."""
        return self.tokens.mint(user, *scopes, merchant_id=merchant)

    @property
    def shop(self) -> str:
        """A token that may do everything that scopes allow."""
        return self.token("shop", *SCOPES)

    async def send(
        self,
        method: str,
        path: str,
        token: str | None = None,
        body: object = None,
        *,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request: ``body`` as JSON, or ``data`` as it is."""
        all_headers = {"Content-Type": "application/json"} if body is not None or data is not None else {}
        if token is not None:
            all_headers["Authorization"] = f"Bearer {token}"
        async with self._session.request(
            method,
            self.url + path,
            data=data if body is None else msgspec.json.encode(body),
            headers=all_headers | dict(headers or {}),
            allow_redirects=False,
        ) as response:
            return Reply(response.status, response.headers, await response.read())

    async def get(self, path: str, token: str | None = None) -> Reply:
        """Read something."""
        return await self.send("GET", path, token)

    async def post(self, path: str, token: str | None, body: object = None) -> Reply:
        """Post a JSON body, or none."""
        return await self.send("POST", path, token, body)

    # What tests do again and again.

    async def fund(self, user: str, amount: int, currency: str = "CNY") -> None:
        """Open a wallet with money in it."""
        wallet = {"userId": user, "payPassword": PASSWORD, "currency": currency}
        assert (await self.post("/wallets", self.shop, wallet)).status == 201
        if amount:
            assert (await self.top_up(user, amount, f"fund-{currency}", currency=currency)).status == 201

    async def top_up(self, user: str, amount: object, key: str, *, token: str = "", **more: object) -> Reply:
        """Put money into a wallet."""
        path, body = f"/wallets/{user}/top-ups", {"amount": amount, **more}
        return await self.send("POST", path, token or self.shop, body, headers={"Idempotency-Key": key})

    async def balance(self, user: str) -> int:
        """Return a wallet's balance."""
        balance: int = (await self.get(f"/wallets/{user}", self.token(user))).json["balance"]
        return balance

    async def apply(self, user: str, amount: int = 100, **more: object) -> dict[str, Any]:
        """Make a pay order and return it."""
        body = {"bizOrderNo": str(fresh_number()), "payerId": user, "amount": amount, **more}
        reply = await self.post("/pay-orders", self.shop, body)
        assert reply.status == 201, reply.content
        return reply.json

    async def pay(self, pay_order_id: str, user: str, password: str = PASSWORD) -> Reply:
        """Try to pay."""
        return await self.post(f"/pay-orders/{pay_order_id}/pay", self.token(user), {"payPassword": password})

    async def order(self, user: str, fee: int = 100, **more: object) -> dict[str, Any]:
        """Create an order at the order service and return it."""
        reply = await self.post("/orders", self.shop, {"buyerId": user, "totalFee": fee, **more})
        assert reply.status == 201, reply.content
        return reply.json

    async def until_order(self, order_id: str, status: str) -> None:
        """Wait until the order service shows a status."""

        async def shown() -> bool:
            return bool((await self.get(f"/orders/{order_id}", self.shop)).json["status"] == status)

        await until(shown)


@dataclass(frozen=True, slots=True)
class Service:
    """A service in this process: a client of it, its parts and its databases."""

    client: Client
    served: Served
    urls: Mapping[str, str]

    async def renew(self) -> None:
        """Renew what it holds under leases: while tests of other event loops run, its own stands still."""
        for loop in self.served.runtime.host.loops:
            if loop.name.endswith("node-number"):
                await loop.step()

    def application(self) -> Litestar:
        """Return its application once more, to look at its routes."""
        runtime = self.served.runtime
        return create_app(runtime.parts, runtime.host.tokens, runtime.host.metrics)


@asynccontextmanager
async def in_process(
    urls: Mapping[str, str],
    settings: Settings = SETTINGS,
    roles: frozenset[str] = ROLES,
    *,
    port: int = 0,
) -> AsyncIterator[Service]:
    """Serve on this port, or a free one, in this event loop, as ``paybell serve`` does."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with Client.open(url) as client, serving(settings, urls, roles, listening) as served:
            yield Service(client, served, urls)


_PAY_TABLES = (
    "(SELECT * FROM accounts WHERE kind = 'wallet')", "wallets", "transfers", "pay_orders", "operator_actions"
)  # fmt: skip


@dataclass(frozen=True)
class State:
    """What must not change, and the dead letters there were."""

    tables: Sequence[object]
    letters: Mapping[int, str]

    def follows(self, before: "State") -> bool:
        """Say whether nothing of it has changed; what other tests left behind may have died since."""
        letters = {number: self.letters.get(number) for number in before.letters}
        return (self.tables, letters) == (before.tables, before.letters)


async def state(service: Service) -> State:
    """Return it. Merchants' accounts are left out: money is posted to them later."""
    async with connected(service.urls["trade"]) as rows:

        async def at_rest() -> bool:
            soon = "state = 'retry' AND due_at < now() + interval '5 seconds'"
            return not await rows.fetchval(f"SELECT count(*) FROM failed_deliveries WHERE {soon}")  # noqa: S608

        await until(at_rest, seconds=30)
        letters = await rows.fetch("SELECT id, md5(t::text) FROM failed_deliveries AS t WHERE state = 'dead'")
        tables = [await _digest(rows, "orders")]
    async with connected(service.urls["pay"]) as rows:
        tables += [await _digest(rows, table) for table in _PAY_TABLES]
    return State(tables, dict(letters))


async def _digest(rows: "asyncpg.Connection[Any]", table: str) -> tuple[object, ...]:
    query = f"SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table} AS t"  # noqa: S608
    return tuple(await rows.fetchrow(query) or ())


class Process:
    """A ``paybell`` process, with everything it said."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """Start it; nothing of the outer environment's settings reaches it."""
        outer = {name: value for name, value in os.environ.items() if not name.startswith("PAYBELL_")}
        self._log = log
        with log.open("ab") as output:
            self._begin = output.tell()
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", "paybell", *arguments],
                env=outer | dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def said(self) -> str:
        """Everything it wrote so far."""
        return self._log.read_bytes()[self._begin :].decode(errors="replace")

    @property
    def tracebacks(self) -> str:
        """What it said from the first traceback on; empty if there is none."""
        _, traceback, rest = self.said.partition("Traceback")
        return traceback + rest

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    async def ended(self, seconds: float = START_SECONDS) -> int:
        """Wait for its end and return its exit code."""

        async def over() -> bool:
            return self._process.poll() is not None

        await until(over, seconds=seconds)
        code: int | None = self._process.returncode
        assert code is not None
        return code

    async def url(self) -> str:
        """Wait until it says where it listens, and return that."""

        async def listens() -> bool:
            assert self._process.poll() is None, self.said
            return "Paybell listens on" in self.said

        await until(listens, seconds=START_SECONDS)
        match = re.findall(r"Paybell listens on (http://\S+)", self.said)
        return str(match[-1])

    def kill(self) -> None:
        """End it at once, without a goodbye."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()


@contextmanager
def process(*arguments: str, log: Path, **settings: object) -> Iterator[Process]:
    """Run a ``paybell`` command; settings by field name. It does not outlive the block."""
    environment = {f"PAYBELL_{name.upper()}": str(value) for name, value in settings.items()}
    started = Process(arguments, environment, log)
    try:
        yield started
    finally:
        started.signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            started._process.wait(START_SECONDS / 4)
        started.kill()


async def run(
    *arguments: str, log: Path, seconds: float = START_SECONDS, **settings: object
) -> tuple[int, str]:
    """Run a ``paybell`` command to its end; return its exit code and what it said."""
    with process(*arguments, log=log, **settings) as started:
        code = await started.ended(seconds)
        return code, started.said


async def gather_all(*coroutines: Any) -> list[Any]:
    """Run coroutines at once and return what each came to, exceptions included."""
    return list(await asyncio.gather(*coroutines, return_exceptions=True))


@asynccontextmanager
async def lasting(most_seconds: float) -> AsyncIterator[None]:
    """Fail when the block takes longer."""
    started = asyncio.get_running_loop().time()
    yield
    took = asyncio.get_running_loop().time() - started
    assert took <= most_seconds, f"it took {took:.1f} s"
