"""What there is before a measurement begins: wallets with money, orders to pay, years of paid ones."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from benchmarks.servers import Servers, connected
from paybell.ids import new_traceparent
from paybell.pay.settlement import PaymentRequest
from paybell.serving.databases import SCHEMAS
from paybell.storage.migrate import migrate
from paybell.storage.queries import load_queries
from paybell.wallet.pay_password import Pepper

_SQL = load_queries("benchmarks", "stock.sql")
PASSWORD = "123456"  # noqa: S105 - everybody's, here
PEPPER = "benchmarks-only-pepper-0123456789abcdef"
AMOUNT = 100
BALANCE = 10**12
# More than payments in one batch: a batch of different buyers is the usual one.
BUYERS = 1_000
PAY, TRADE = "pay_stock", "trade_stock"
# Order numbers of `stock.sql`; what was paid long ago has numbers far above what is to be paid.
_PAY_BASE, _BIZ_BASE = 7 * 10**17, 6 * 10**17
_PAID_FROM = 10**8


@dataclass(frozen=True, slots=True)
class Grown:
    """How much a grown database holds."""

    paid: int
    pending: int


def biz_order_no(number: int) -> int:
    """Return the business order number of the nth order."""
    return _BIZ_BASE + number


def pay_order_id(number: int) -> int:
    """Return the pay order id of the nth order."""
    return _PAY_BASE + number


def payer_of(number: int) -> str:
    """Return who pays the nth order."""
    return f"buyer-{number % BUYERS}"


def requests(first: int, count: int) -> list[PaymentRequest]:
    """Return the payments of these orders."""
    return [
        PaymentRequest(pay_order_id(n), payer_of(n), PASSWORD, new_traceparent())
        for n in range(first, first + count)
    ]


async def _make(servers: Servers, name: str, kind: str) -> None:
    await servers.execute(f"CREATE DATABASE {name}")
    for schema in SCHEMAS[kind]:
        await migrate(servers.url(name), schema)


async def make_pay(servers: Servers, name: str, orders: int, *, merchants: int = 1) -> None:
    """Make a pay database with orders 1 to ``orders`` unpaid."""
    await _make(servers, name, "pay")
    async with connected(servers.url(name)) as connection:
        await _stock_pay(connection, orders, merchants)
        await connection.execute("VACUUM ANALYZE")


async def make_trade(servers: Servers, name: str, orders: int) -> None:
    """Make a trade database with orders 1 to ``orders`` unpaid."""
    await _make(servers, name, "trade")
    async with connected(servers.url(name)) as connection:
        await connection.execute(_SQL["stock_trade_orders"], 1, orders, AMOUNT, BUYERS)
        await connection.execute("VACUUM ANALYZE")


async def _stock_pay(connection: "asyncpg.Connection[Any]", orders: int, merchants: int) -> None:
    pepper = Pepper(PEPPER)
    buyers = [payer_of(n) for n in range(BUYERS)]
    await connection.execute(
        _SQL["stock_wallets"], buyers, [pepper.protect(PASSWORD) for _ in buyers], BALANCE
    )
    await connection.execute(_SQL["stock_merchants"], merchants)
    await connection.execute(_SQL["stock_pay_orders"], 1, orders, AMOUNT, BUYERS, merchants)
    await connection.execute(_SQL["stock_deadlines"])


async def make_grown(servers: Servers, pay: str, trade: str, orders: int, grown: Grown) -> None:
    """Make both databases as they are after years: the newest ``grown.pending`` payments are still untold.

    Only for making it, foreign keys are not looked up row by row; the books are checked afterwards.
    """
    last, untold = _PAID_FROM + grown.paid, _PAID_FROM + grown.paid - grown.pending + 1
    await asyncio.gather(
        _grow_pay(servers, pay, orders, last, untold), _grow_trade(servers, trade, orders, last, untold)
    )


async def _grow_pay(servers: Servers, pay: str, orders: int, last: int, untold: int) -> None:
    await _make(servers, pay, "pay")
    async with connected(servers.url(pay)) as connection:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("SET synchronous_commit = off")
        await _stock_pay(connection, orders, 1)
        await connection.execute(_SQL["grow_paid_orders"], _PAID_FROM + 1, last, AMOUNT, BUYERS)
        for step in ("grow_transfers", "grow_balances"):
            await connection.execute(_SQL[step])
        await connection.execute(_SQL["grow_outbox"], untold)
        await connection.execute("VACUUM ANALYZE")


async def _grow_trade(servers: Servers, trade: str, orders: int, last: int, untold: int) -> None:
    await _make(servers, trade, "trade")
    async with connected(servers.url(trade)) as connection:
        await connection.execute("SET synchronous_commit = off")
        await connection.execute(_SQL["grow_trade_orders"], _PAID_FROM + 1, untold - 1, AMOUNT, BUYERS)
        await connection.execute(_SQL["grow_inbox"])
        await connection.execute(_SQL["stock_trade_orders"], untold, last, AMOUNT, BUYERS)
        await connection.execute(_SQL["stock_trade_orders"], 1, orders, AMOUNT, BUYERS)
        await connection.execute("VACUUM ANALYZE")


def all_buyers() -> Sequence[str]:
    """Return every buyer."""
    return [payer_of(n) for n in range(BUYERS)]
