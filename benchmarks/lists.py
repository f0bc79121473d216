"""How long a page of the list of pay orders takes, whatever is filtered: the written list is `FILTERS`."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from benchmarks.servers import Servers, connected
from benchmarks.settling import Parts, seconds
from benchmarks.stock import PAY
from paybell.clock import SystemClock
from paybell.ids import first_id
from paybell.operations.payments import Payment, Payments
from paybell.serving.databases import SCHEMAS
from paybell.storage import Database
from paybell.storage.listing import Listing, Place, Wanted
from paybell.storage.migrate import migrate
from paybell.storage.queries import load_queries
from paybell.telemetry.percentiles import percentile

_SQL = load_queries("benchmarks", "lists.sql")
DAYS = 92
INDEXES = ("pay_orders_of_merchant", "pay_orders_of_payer")
_WAITING = 200
_PAY, _TRADE = "listed_pay", "listed_trade"
Draw = Callable[[random.Random, Wanted], Wanted]


def _within(dice: random.Random, wanted: Wanted, **more: object) -> Wanted:
    """Go on somewhere in the whole time."""
    at = wanted.until - timedelta(days=dice.uniform(0, DAYS))
    return replace(wanted, after=Place(at, first_id(at), wanted.since), **more)  # type: ignore[arg-type]


def _payer(dice: random.Random) -> str:
    return f"payer-{dice.randrange(100_000)}"


# Each over all of 92 days where it does not say otherwise; ``wanted`` comes with these.
FILTERS: Mapping[str, Draw] = {
    "first page, 7 days": lambda _, w: replace(w, since=w.until - timedelta(days=7)),
    "first page, 200 rows": lambda _, w: replace(w, limit=200),
    "first page of the merchant": lambda _, w: replace(w, merchant="1"),
    "any later page": _within,
    "any later page of the merchant": lambda dice, w: _within(dice, w, merchant="1"),
    "a small merchant's": lambda dice, w: replace(w, merchant=f"small-{7 + 50 * dice.randrange(2)}"),
    "a merchant nobody knows": lambda _, w: replace(w, merchant="nobody"),
    "paid": lambda dice, w: _within(dice, w, status="TRADE_SUCCESS"),
    "closed, 1 of 500": lambda dice, w: _within(dice, w, status="TRADE_CLOSED"),
    "open, only the newest": lambda _, w: replace(w, status="WAIT_BUYER_PAY"),
    "not committed, none": lambda _, w: replace(w, status="NOT_COMMIT"),
    "a payer's": lambda dice, w: replace(w, person=_payer(dice)),
    "a busy payer's, closed": lambda dice, w: _within(dice, w, person="busy", status="TRADE_CLOSED"),
    "a payer nobody knows": lambda _, w: replace(w, person="nobody"),
    "one exact amount": lambda dice, w: replace(w, least=(a := dice.randint(1, 10**6)), most=a),
    "one exact amount, 7 days": lambda dice, w: replace(
        w, since=w.until - timedelta(days=7), least=(a := dice.randint(1, 10**6)), most=a
    ),
    "amounts of one per cent": lambda dice, w: _within(dice, w, least=990_000),
    "amounts nobody paid": lambda _, w: replace(w, least=10**7),
    "merchant, payer, status, amount": lambda dice, w: replace(
        w, merchant="1", person="busy", status="TRADE_SUCCESS", least=dice.randint(1, 10**6)
    ),
    "not delivered": lambda _, w: w,
}


async def measure(servers: Servers, rows: int, times: int) -> dict[str, float]:
    """Return p50 and p99 of each filter in milliseconds, and the slowest p99, over so many pay orders."""
    now = SystemClock().now()
    for name, kind in ((_PAY, "pay"), (_TRADE, "trade")):
        await servers.execute(f"CREATE DATABASE {name}")
        for schema in SCHEMAS[kind]:
            await migrate(servers.url(name), schema)
    await fill(servers.url(_PAY), rows, now)
    lasted = await pages(servers.url(_PAY), servers.url(_TRADE), now, times)
    for name in (_PAY, _TRADE):
        await servers.execute(f"DROP DATABASE {name} WITH (FORCE)")
    figures = {"listSlowest": 0.0}
    for name, millis in lasted.items():
        figures[f"{name}, p50"] = percentile(sorted(millis), 0.5) or 0.0
        figures[f"{name}, p99"] = percentile(sorted(millis), 0.99) or 0.0
        figures["listSlowest"] = max(figures["listSlowest"], figures[f"{name}, p99"])
    return figures


async def settle_unlisted(parts: Parts, count: int) -> dict[str, float]:
    """Settle as `settling.pipeline` does, without the indexes of lists: what they cost a payment."""
    async with parts.servers.fresh(PAY) as pay:
        for index in INDEXES:
            await parts.servers.execute(f"DROP INDEX {index}", pay)
        report = await parts.settle(pay, 1, count)
    return {"settleUnlisted": count / seconds(report)}


async def fill(url: str, rows: int, now: datetime) -> None:
    """Fill a new pay database; the indexes of lists are made at the end, which takes less time."""
    begin = now - timedelta(days=DAYS)
    async with connected(url) as connection:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("SET synchronous_commit = off")
        indexes = await connection.fetch(_SQL["index_definitions"], INDEXES)
        for index in indexes:
            await connection.execute(f"DROP INDEX {index['name']}")
        await connection.execute(_SQL["stock_listed_orders"], rows, now, first_id(begin))
        for index in indexes:
            await connection.execute(index["definition"])
        await connection.execute(_SQL["some_waiting_events"], _WAITING)
        await connection.execute("VACUUM ANALYZE")


async def pages(pay_url: str, trade_url: str, now: datetime, times: int) -> dict[str, list[float]]:
    """Return the milliseconds of so many pages of each filter, in the order of time, from one process."""
    clock, dice = SystemClock(), random.Random(92)
    whole = Wanted(now - timedelta(days=DAYS), now, 50)
    async with (
        Database.open(pay_url, clock, connections=2) as pay,
        Database.open(trade_url, clock, connections=2) as trade,
    ):
        payments = Payments(pay, trade, clock, "1")
        lasted: dict[str, list[float]] = {name: [] for name in FILTERS}
        for _ in range(times):
            for name, draw in FILTERS.items():
                listing = payments.not_delivered if name == "not delivered" else payments.all
                lasted[name].append(await _timed(listing, draw(dice, whole)))
    return lasted


async def _timed(listing: Listing[Payment], wanted: Wanted) -> float:
    started = time.perf_counter()
    await listing.page(wanted)
    return (time.perf_counter() - started) * 1000
