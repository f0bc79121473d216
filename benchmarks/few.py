"""What one payment costs where there are few: no batch shares the work then, and most shops are that shop."""

import asyncio
from dataclasses import dataclass

from benchmarks.paying import Pressure, Site, check_paid, drive, load_generator, paybell
from benchmarks.peers import bare
from benchmarks.processes import cpu_seconds, family, postgres_cpu
from benchmarks.servers import Servers
from benchmarks.stock import PAY, TRADE

# Payments offered a second.
RATES = (50, 300, 1_000)
_MICROS = 1e6


@dataclass(frozen=True, slots=True)
class _Spent:
    """CPU seconds so far."""

    python: float
    postgres: float
    broker: float


async def few(servers: Servers, pressure: Pressure) -> dict[str, float]:
    """Pay at each rate with a whole service in one process, and do as many with the bare program.

    Returns:
        For each rate CPU for each payment in microseconds (``few50Micros``; Python, PostgreSQL and RabbitMQ
        also apart), the bare program's (``bare50Micros``), and the 99th percentiles from the answer to PAID
        (``few50PaidP99``) and from commit to commit (``bare50P99``) in milliseconds; ``idleShare``: of one
        core, by Python and PostgreSQL, while nobody asks anything.

    Raises:
        BooksWrong: something was lost or doubled.
    """
    found: dict[str, float] = {}
    parts = 2 * len(RATES)
    async with servers.fresh(PAY) as pay, servers.fresh(TRADE) as trade:
        async with load_generator() as load, paybell(servers, pay, trade) as site:
            found["idleShare"] = await _idle(servers, site, pressure.seconds)
            count = 0
            for nth, rate in enumerate(RATES):
                before = _spent(servers, site)
                driven = await drive(load, site, pressure, part=(2 * nth, parts), rate=rate, refusals=True)
                after = _spent(servers, site)
                found |= _micros(rate, before, after, driven.paid)
                watched = await drive(
                    load, site, pressure, part=(2 * nth + 1, parts), rate=rate, refusals=True, watch_every=5
                )
                found[f"few{rate}PaidP99"] = watched.report["toPaidMs"]["p99"]
                count += driven.paid + watched.paid
        await check_paid(servers, pay, trade, count)
        for rate in RATES:
            floor = await bare.measure(servers, pay, rate, pressure.seconds)
            found |= {f"bare{rate}Micros": floor["micros"], f"bare{rate}P99": floor["p99"]}
    return found


async def _idle(servers: Servers, site: Site, seconds: float) -> float:
    await asyncio.sleep(seconds)  # it has just started
    before = _spent(servers, site)
    await asyncio.sleep(seconds)
    after = _spent(servers, site)
    return (after.python + after.postgres - before.python - before.postgres) / seconds


def _spent(servers: Servers, site: Site) -> _Spent:
    return _Spent(
        cpu_seconds(family(site.pid)),
        sum(postgres_cpu(servers.postmaster).values()),
        cpu_seconds([servers.rabbitmq.pid]),
    )


def _micros(rate: int, before: _Spent, after: _Spent, paid: int) -> dict[str, float]:
    python, postgres, broker = (
        _MICROS * (later - earlier) / paid
        for later, earlier in (
            (after.python, before.python),
            (after.postgres, before.postgres),
            (after.broker, before.broker),
        )
    )
    return {
        f"few{rate}Micros": python + postgres + broker,
        f"few{rate}PythonMicros": python,
        f"few{rate}PostgresMicros": postgres,
        f"few{rate}BrokerMicros": broker,
    }
