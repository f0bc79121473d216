"""What tests of several kinds share."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import msgspec

from paybell.errors import PaybellError
from paybell.idempotency.keys import IdempotencyKey
from paybell.ids import new_traceparent
from paybell.messaging.outbox import Outbox
from paybell.parts import Release
from paybell.pay.model import Application, PayOrder
from paybell.pay.refund_routes import refunded
from paybell.pay.refunds import RefundRequest, RefundService
from paybell.pay.service import PayService
from paybell.pay.settlement import PaymentRequest
from paybell.storage import Database
from paybell.telemetry.observers import Observer
from paybell.testing import SequentialIds
from paybell.wallet import ledger
from paybell.wallet.pay_password import Pepper
from paybell.wallet.routes import topped_up
from paybell.wallet.service import WalletService

PASSWORD = "123456"
PEPPER = Pepper("test pepper")


@dataclass(frozen=True, slots=True)
class Databases:
    """URLs of the two databases of the run; a fixture empties one for each test."""

    pay: str
    trade: str


# Databases with the newest schema, to make others from.
TEMPLATES = {"pay": "template_pay", "trade": "template_trade"}


def made_from(database: str, name: str) -> str:
    """Return the statement that makes a database with the schema of ``pay`` or ``trade``."""
    return f"CREATE DATABASE {database} TEMPLATE {TEMPLATES[name]} STRATEGY file_copy"


async def admin(url: str, *statements: str) -> None:
    """Run statements that no transaction may surround."""
    server, _, rest = url.partition("/paybell_")
    del rest
    query = url[url.index("?") :] if "?" in url else ""
    connection = await asyncpg.connect(f"{server}/postgres{query}")
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def connected(url: str) -> "AsyncIterator[asyncpg.Connection[Any]]":
    """A connection beside Paybell's own, to look at rows or to put them in the state a crash leaves."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def until(condition: Callable[[], Awaitable[bool]], *, seconds: float = 10.0) -> None:
    """Wait for something to become true; fail when it does not in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


class PaySide:
    """The pay service on a test's own database, with shortcuts for what tests do again and again."""

    def __init__(self, database: Database, *, batch_max: int = 256, first_id: int = 1001) -> None:
        """Build the real services; pay orders count from ``first_id``."""
        self.database = database
        self.outbox = Outbox(database)
        self.releasing: list[Release] = []
        self.wallets = WalletService(database, PEPPER)
        ids = SequentialIds(first_id)
        self.pay = PayService(
            database, self.outbox, PEPPER, ids, Observer(), batch_max=batch_max, releasing=self.releasing
        )
        self.refunds = RefundService(database, self.outbox, ids)

    async def fund(self, user_id: str, amount: int, currency: str = "CNY") -> None:
        """Open a wallet with money in it."""
        await self.wallets.open(user_id, PASSWORD, currency)
        if amount:
            await self.top_up(user_id, amount, currency, currency)

    async def open_merchant(self) -> None:
        """Open merchant 1's account, so that its first application takes no second id."""
        async with self.database.transaction() as tx:
            await ledger.system_accounts(tx, "merchant", {("1", "CNY")})

    async def top_up(self, user_id: str, amount: int, number: str, currency: str = "CNY") -> None:
        """Put money into a wallet, once for each number."""
        key = IdempotencyKey.of("test", "top-up", f"{user_id}-{number}", b"")
        await self.wallets.top_up(user_id, amount, currency, key, topped_up)

    async def order(
        self, biz_order_no: int, payer_id: str, amount: int, *, currency: str = "CNY", ttl_seconds: int = 600
    ) -> PayOrder:
        """Apply for a pay order of merchant 1."""
        order, _ = await self.pay.apply(
            Application("1", biz_order_no, payer_id, amount, currency, "", ttl_seconds)
        )
        return order

    async def balance(self, user_id: str) -> int:
        """Return a wallet's balance."""
        return (await self.wallets.read(user_id)).balance

    async def attempt(
        self, pay_order_id: int, payer_id: str, password: str = PASSWORD
    ) -> PayOrder | PaybellError:
        """Try to pay; return the order or the refusal."""
        try:
            return await self.pay.pay(payment(pay_order_id, payer_id, password))
        except PaybellError as error:
            return error

    async def refund(
        self, pay_order_id: int, amount: int, number: str = "refund-1", reason: str = ""
    ) -> PaybellError | dict[str, Any]:
        """Try to give back as merchant 1; return the answer's body or the refusal."""
        key = IdempotencyKey.of("1", f"refunds of {pay_order_id}", number, b"%d" % amount)
        request = RefundRequest(pay_order_id, "1", amount, reason, key, new_traceparent())
        try:
            answer, _ = await self.refunds.refund(request, refunded)
        except PaybellError as error:
            return error
        body: dict[str, Any] = msgspec.json.decode(answer.body)
        return body


def payment(pay_order_id: int, payer_id: str, password: str = PASSWORD) -> PaymentRequest:
    """A request to pay."""
    return PaymentRequest(pay_order_id, payer_id, password, new_traceparent())


def codes(outcomes: Sequence[object]) -> list[str]:
    """Name outcomes: a refusal by its code, a payment ``paid``."""
    return [outcome.code if isinstance(outcome, PaybellError) else "paid" for outcome in outcomes]


def cases(thorough: int) -> int:
    """Return how many cases a random search has: a tenth, and all of them with ``make test THOROUGH=1``."""
    return thorough if os.environ.get("THOROUGH") else thorough // 10


def seeded() -> random.Random:
    """Return a random source; a failing test shows its seed, and PAYBELL_TEST_SEED repeats it."""
    seed = int(os.environ.get("PAYBELL_TEST_SEED") or random.SystemRandom().randrange(2**32))
    print(f"PAYBELL_TEST_SEED={seed}")  # noqa: T201 - pytest shows it when the test fails
    return random.Random(seed)


async def waiting_for_locks(connection: "asyncpg.Connection[Any]", number: int) -> bool:
    """Say whether so many of the server's sessions wait for a lock, as the connection sees it."""
    return bool(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") == number)
