"""Measurements over HTTP: a whole service under load, from the request to the order marked paid."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.books import BooksWrong, agree, check_pay, check_trade
from benchmarks.parts import JWT_SECRET
from benchmarks.processes import Child, child, server, together
from benchmarks.servers import Servers, connected
from benchmarks.stock import PASSWORD, PAY, PEPPER, TRADE, biz_order_no, pay_order_id, payer_of
from paybell.clock import SystemClock
from paybell.testing.ports import free_port
from paybell.tokens import Tokens

WARMUP = 200
_ARRIVAL_SECONDS = 120.0
_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Site:
    """A running service: where it listens, and where one sees which orders are paid."""

    port: int
    pid: int
    trade_url: str
    paid_query: str = "SELECT count(*) FROM orders WHERE status = 'PAID'"
    payer: Callable[[int], str] = payer_of


@dataclass(frozen=True, slots=True)
class Pressure:
    """Orders there are to pay, requests on their way at the same time, and for how many seconds."""

    orders: int
    connections: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Driven:
    """What load came to: payments answered 200, and when; times on the monotonic clock."""

    paid: int
    warm: int
    started: float
    answered_at: float
    arrived_at: float
    report: Mapping[str, Any]

    @property
    def answered_rate(self) -> float:
        """Payments answered a second."""
        return self.paid / (self.answered_at - self.started)

    @property
    def arrived_rate(self) -> float:
        """Payments a second until the order service had marked the last one paid."""
        return self.paid / (self.arrived_at - self.started)

    @property
    def load_share(self) -> float:
        """How much of one core the load generator used."""
        return float(self.report["cpu"] / (self.answered_at - self.started))


def load_generator() -> AbstractAsyncContextManager[Child]:
    """Start the process that sends the requests; it can do so again and again."""
    return child("benchmarks.load")


async def drive(
    load: Child,
    site: Site,
    pressure: Pressure,
    *,
    part: tuple[int, int] = (0, 1),
    rate: float = 0,
    watch_every: int = 0,
    arrives: bool = True,
    refusals: bool = False,
) -> Driven:
    """Pay orders; the first few are a warm-up.

    Args:
        load: sends the requests.
        site: the service.
        pressure: how many orders, for how long, how many at the same time.
        part: (0, 3) is the first third of the orders.
        rate: how many leave a second; 0: as many as are answered.
        watch_every: every how-manieth order is watched until it is paid; 0: none.
        arrives: wait until the order service has marked all paid.
        refusals: other answers than 200 are part of the measurement; there is no warm-up then.

    Raises:
        BooksWrong: something else than 200 was answered, or a payment did not arrive.
    """
    warmup = 0 if refusals else WARMUP
    tokens = Tokens(JWT_SECRET, SystemClock(), merchant_id="1", require_expiry=False)
    nth, parts = part
    size = pressure.orders // parts
    numbers = range(1 + nth * size, 1 + (nth + 1) * size)
    spec: dict[str, object] = {
        "host": "127.0.0.1",
        "port": site.port,
        "connections": pressure.connections,
        "warmup": warmup,
        "seconds": pressure.seconds,
        "body": f'{{"payPassword":"{PASSWORD}"}}',
        "tokens": {payer: tokens.mint(payer) for payer in {site.payer(n) for n in numbers}},
        "requests": [[f"/pay-orders/{pay_order_id(n)}/pay", site.payer(n)] for n in numbers],
    }
    if rate:
        spec["rate"] = rate
    if watch_every:
        orders = [biz_order_no(n) for n in numbers]
        spec["watch"] = {"url": site.trade_url, "orders": orders, "every": watch_every}
    before = await _count_paid(site)
    await load.prepare(spec)
    if arrives:
        await until_paid(site, before + warmup)
    report = await load.run()
    paid = report["statuses"].get("200", 0)
    if not refusals:
        agree("load", answers=(report["statuses"], {"200": paid}))
    warm, ended = report["warm"], report["ended"]
    arrived = await until_paid(site, before + warm + paid) if arrives else ended
    return Driven(paid, warm, report["started"], ended, arrived, report)


async def _count_paid(site: Site) -> int:
    async with connected(site.trade_url) as connection:
        return int(await connection.fetchval(site.paid_query))


async def until_paid(site: Site, count: int) -> float:
    """Wait until so many orders are marked paid; return when that was.

    Raises:
        BooksWrong: they were not in time.
    """
    deadline = time.monotonic() + _ARRIVAL_SECONDS
    async with connected(site.trade_url) as connection:
        while (found := await connection.fetchval(site.paid_query)) < count:
            if time.monotonic() > deadline:
                raise BooksWrong(f"{found} of {count} orders were marked paid within {_ARRIVAL_SECONDS:g} s")
            await asyncio.sleep(_POLL_SECONDS)
    return time.monotonic()


@asynccontextmanager
async def paybell(
    servers: Servers, pay: str, trade: str, *roles: str, workers: int = 1, port: int = 0, pay_url: str = ""
) -> AsyncIterator[Site]:
    """Run ``paybell serve`` as it comes, on these databases and the private RabbitMQ."""
    port = port or free_port()
    user = f"bench_{roles[0]}" if roles else "postgres"
    environment = {
        "PAYBELL_PORT": str(port),
        "PAYBELL_DATABASE_URL": servers.url(pay, user),
        "PAYBELL_TRADE_DATABASE_URL": servers.url(trade, user),
        "PAYBELL_BROKER_URL": servers.rabbitmq.url,
        "PAYBELL_PAY_URL": pay_url,
        "PAYBELL_JWT_SECRET": JWT_SECRET,
        "PAYBELL_PIN_PEPPER": PEPPER,
    }
    command = ["-m", "paybell", "serve", "--workers", str(workers)]
    command += [word for role in roles for word in ("--role", role)]
    async with server(command, environment, started="service_started", times=workers) as pid:
        yield Site(port, pid, servers.url(trade))


async def http(servers: Servers, pressure: Pressure, *, workers: int, offered: float = 0) -> dict[str, float]:
    """Pay over HTTP with everything on: token, pay password, ledger, outbox, relay, RabbitMQ, trade.

    Args:
        servers: to run on.
        pressure: how much, for how long.
        workers: processes that answer HTTP; one more relays and listens for all of them.
        offered: then offer so many payments a second, at most four fifths of what was just reached, and
            return the times to the answer and from the answer to the paid order; 0: do not.

    Raises:
        BooksWrong: something was lost or doubled, or refused.
    """
    async with servers.fresh(PAY) as pay, servers.fresh(TRADE) as trade:
        port = free_port()
        behind = paybell(servers, pay, trade, "relay", "trade", "ops", pay_url=f"http://127.0.0.1:{port}")
        api = paybell(servers, pay, trade, "api", workers=workers, port=port)
        async with load_generator() as load, together(api, behind) as (site, _):
            driven = await drive(load, site, pressure, part=(0, 2))
            count = driven.warm + driven.paid
            found = {
                "httpPaid": driven.arrived_rate,
                "httpAnswered": driven.answered_rate,
                "loadShare": driven.load_share,
            }
            if offered:
                rate = max(20.0, min(offered, driven.arrived_rate * 0.8 // 10 * 10))
                timed = await drive(load, site, pressure, part=(1, 2), rate=rate, watch_every=5)
                count += timed.warm + timed.paid
                found |= _latency(timed) | {"latencyOffered": rate}
        await check_paid(servers, pay, trade, count)
    return found


def _latency(driven: Driven) -> dict[str, float]:
    answer, arrival = driven.report["answerMs"], driven.report["toPaidMs"]
    return {
        "latencyRate": driven.answered_rate,
        "answerP50": answer["p50"],
        "answerP99": answer["p99"],
        "paidP50": arrival["p50"],
        "paidP99": arrival["p99"],
    }


async def check_paid(servers: Servers, pay: str, trade: str, count: int) -> None:
    """Check the books of both sides, and that nothing is left on the way."""
    await check_pay(servers.url(pay), "Paybell", paid=count, untold=0)
    await check_trade(servers.url(trade), "Paybell", paid=count)
    agree("Paybell", left=(await servers.empty_queue(), 0))


async def generator_limit(connections: int, seconds: float) -> dict[str, float]:
    """Return how many requests a second the load generator manages against a server that does nothing."""
    port = free_port()
    requests = [[f"/pay-orders/{pay_order_id(n)}/pay", "1"] for n in range(int(60_000 * seconds))]
    spec = {"host": "127.0.0.1", "port": port, "connections": connections, "warmup": 100}
    spec |= {"seconds": seconds, "body": "{}", "tokens": {"1": "x" * 200}, "requests": requests}
    async with child("benchmarks.responder") as responder, load_generator() as load:
        await responder.prepare({"port": port})
        await load.prepare(spec)
        report = await load.run()
        responder.go()
    return {"loadGenerator": report["statuses"]["200"] / (report["ended"] - report["started"])}
