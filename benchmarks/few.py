"""What one payment costs where there are few: no batch shares the work then, and most shops are that shop."""

import asyncio
from functools import partial

from benchmarks.paying import Pressure, check_paid, drive, load_generator, paybell
from benchmarks.peers import bare
from benchmarks.processes import Spent, family
from benchmarks.servers import Servers
from benchmarks.stock import PAY, TRADE

# Payments offered a second.
RATES = (50, 300, 1_000)
# It has just started.
_SETTLED_SECONDS = 5.0


async def few(servers: Servers, pressure: Pressure) -> dict[str, float]:
    """Pay at each rate with a whole service in one process, and do as many with the bare program.

    Returns:
        For each rate CPU for each payment in microseconds (``few50Micros``; Python, PostgreSQL and RabbitMQ
        also apart), the bare program's (``bare50Micros``), and the 99th percentiles from the answer to PAID
        (``few50PaidP99``) and from commit to commit (``bare50P99``) in milliseconds.

    Raises:
        BooksWrong: something was lost or doubled.
    """
    found: dict[str, float] = {}
    parts = 2 * len(RATES)
    async with servers.fresh(PAY) as pay, servers.fresh(TRADE) as trade:
        async with load_generator() as load, paybell(servers, pay, trade) as site:
            spent, count = partial(servers.spent, family(site.pid)), 0
            for nth, rate in enumerate(RATES):
                offer = partial(drive, load, site, pressure, rate=rate, refusals=True)
                driven = await offer(part=(2 * nth, parts), spent=spent)
                found |= _micros(rate, driven.micros)
                watched = await offer(part=(2 * nth + 1, parts), watch=site.port)
                found[f"few{rate}PaidP99"] = watched.report["toPaidMs"]["p99"]
                count += driven.paid + watched.paid
        await check_paid(servers, pay, trade, count)
        for rate in RATES:
            floor = await bare.measure(servers, pay, rate, pressure.seconds)
            found |= {f"bare{rate}Micros": floor["micros"], f"bare{rate}P99": floor["p99"]}
    return found


async def idle(servers: Servers, seconds: float) -> dict[str, float]:
    """Return which share of a core Python and PostgreSQL use while nobody asks anything (``idleShare``)."""
    async with servers.fresh(PAY) as pay, servers.fresh(TRADE) as trade, paybell(servers, pay, trade) as site:
        await asyncio.sleep(_SETTLED_SECONDS)
        pids = family(site.pid)
        before = servers.spent(pids)
        await asyncio.sleep(seconds)
        after = servers.spent(pids)
    return {"idleShare": (after.python + after.postgres - before.python - before.postgres) / seconds}


def _micros(rate: int, micros: Spent) -> dict[str, float]:
    return {
        f"few{rate}Micros": micros.total,
        f"few{rate}PythonMicros": micros.python,
        f"few{rate}PostgresMicros": micros.postgres,
        f"few{rate}BrokerMicros": micros.broker,
    }
