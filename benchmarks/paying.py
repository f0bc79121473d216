"""Measurements over HTTP: a whole service under load, from the request to the order marked paid."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from benchmarks.books import BooksWrong, agree, check_pay, check_trade
from benchmarks.parts import JWT_SECRET
from benchmarks.processes import Child, Spent, child, family, nothing_spent, server, together
from benchmarks.servers import Servers, connected
from benchmarks.stock import PASSWORD, PAY, PEPPER, TRADE, biz_order_no, pay_order_id, payer_of
from paybell.clock import SystemClock
from paybell.environment.reading import variable_of
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
    """What load came to: payments answered 200, and when; times on the monotonic clock; CPU for each."""

    paid: int
    warm: int
    started: float
    answered_at: float
    arrived_at: float
    report: Mapping[str, Any]
    micros: Spent

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
    watch: int = 0,
    spent: Callable[[], Spent] = nothing_spent,
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
        watch: port of trade, where some of the orders are watched until they are paid; 0: none are.
        spent: the CPU that is to be told for each payment.
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
    if watch:
        spec["watch"] = {"port": watch, "orders": [biz_order_no(n) for n in numbers]}
    before = await count_paid(site)
    await load.prepare(spec)
    if arrives:
        await until_paid(site, before + warmup)
    cpu = spent()
    report = await load.run()
    paid = report["statuses"].get("200", 0)
    if not refusals:
        agree("load", answers=(report["statuses"], {"200": paid}))
    warm, ended = report["warm"], report["ended"]
    arrived = await until_paid(site, before + warm + paid) if arrives else ended
    micros = spent().micros(cpu, max(1, paid))
    return Driven(paid, warm, report["started"], ended, arrived, report, micros)


def middle_ratio(blocks: Sequence[float]) -> float:
    """Return the median ratio of every second block to the mean of those before and after it.

    Two kinds of block in turn, beginning and ending with the kind that is divided by: a machine that changes
    its pace changes both.
    """
    others, ends = blocks[1::2], blocks[::2]
    return statistics.median(
        one / statistics.mean(around) for one, around in zip(others, pairwise(ends), strict=True)
    )


async def count_paid(site: Site) -> int:
    """Return how many orders are marked paid."""
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
    servers: Servers,
    pay: str,
    trade: str,
    *roles: str,
    workers: int = 1,
    port: int = 0,
    pay_url: str = "",
    channels: Mapping[str, str] | None = None,
) -> AsyncIterator[Site]:
    """Run ``paybell serve`` on these databases and the private RabbitMQ, as it comes, or with channels."""
    port = port or free_port()
    user = f"bench_{roles[0]}" if roles else "bench_all"
    environment = {
        "PAYBELL_PORT": str(port),
        "PAYBELL_DATABASE_URL": servers.url(pay, user),
        "PAYBELL_TRADE_DATABASE_URL": servers.url(trade, user),
        "PAYBELL_BROKER_URL": servers.rabbitmq.url,
        "PAYBELL_PAY_URL": pay_url,
        "PAYBELL_JWT_SECRET": JWT_SECRET,
        "PAYBELL_PIN_PEPPER": PEPPER,
    }
    environment |= {variable_of(name): value for name, value in (channels or {}).items()}
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
        async with load_generator() as load, together(api, behind) as (site, trading):
            spent = partial(servers.spent, [*family(site.pid), *family(trading.pid)])
            driven = await drive(load, site, pressure, part=(0, 2), spent=spent)
            count = driven.warm + driven.paid
            found = {
                "httpPaid": driven.arrived_rate,
                "httpAnswered": driven.answered_rate,
                "loadShare": driven.load_share,
                "httpMicros": driven.micros.total,
            }
            if offered:
                rate = max(20.0, min(offered, driven.arrived_rate * 0.8 // 10 * 10))
                timed = await drive(load, site, pressure, part=(1, 2), rate=rate, watch=trading.port)
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
