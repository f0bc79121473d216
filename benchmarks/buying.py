"""Whole purchases over HTTP: an order created at trade, paid, and marked PAID; beside payments alone."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from benchmarks.books import agree
from benchmarks.parts import JWT_SECRET
from benchmarks.paying import (
    WARMUP,
    Driven,
    Pressure,
    Site,
    check_paid,
    count_paid,
    drive,
    load_generator,
    middle_ratio,
    paybell,
    until_paid,
)
from benchmarks.processes import Child, Spent, child, family, nothing_spent, together
from benchmarks.servers import Servers
from benchmarks.stock import AMOUNT, BUYERS, PASSWORD, PAY, TRADE
from paybell.clock import SystemClock
from paybell.testing.ports import free_port
from paybell.tokens import Tokens

# Of purchases; between two of payments each.
BLOCKS = 3
_SHOP = ("orders:write", "pay-orders:write")


@dataclass(frozen=True, slots=True)
class Bought:
    """What shoppers came to: purchases a second until the last was PAID, CPU for each, how many in all."""

    rate: float
    micros: Spent
    count: int


async def purchases(servers: Servers, pressure: Pressure, *, workers: int) -> dict[str, float]:
    """Buy from a service that runs as in `benchmarks.paying.http`, and let it take payments alone in turn.

    Returns:
        Purchases a second until the last order is PAID (``purchases``), as a share of payments alone
        (``purchasesToPayments``), and CPU for each in microseconds, of Python, PostgreSQL and RabbitMQ
        together (``purchaseMicros``); medians of the blocks.

    Raises:
        BooksWrong: something was lost or doubled, or refused.
    """
    paid, bought, rates = list[Driven](), list[Bought](), list[float]()
    async with servers.fresh(PAY) as pay, servers.fresh(TRADE) as trade:
        port = free_port()
        behind = paybell(servers, pay, trade, "relay", "trade", "ops", pay_url=f"http://127.0.0.1:{port}")
        api = paybell(servers, pay, trade, "api", workers=workers, port=port)
        generators = together(child("benchmarks.shoppers"), load_generator())
        async with generators as (shoppers, load), together(api, behind) as (paying, ordering):
            spent = partial(servers.spent, [*family(paying.pid), *family(ordering.pid)])
            for nth in range(BLOCKS + 1):
                if nth:
                    bought.append(await buy(shoppers, ordering, paying, pressure, spent))
                    rates.append(bought[-1].rate)
                paid.append(await drive(load, paying, pressure, part=(nth, BLOCKS + 1)))
                rates.append(paid[-1].arrived_rate)
        count = sum(one.warm + one.paid for one in paid) + sum(one.count for one in bought)
        await check_paid(servers, pay, trade, count)
    return {
        "purchases": statistics.median(one.rate for one in bought),
        "purchasesToPayments": middle_ratio(rates),
        "purchaseMicros": statistics.median(one.micros.total for one in bought),
    }


async def buy(
    shoppers: Child,
    ordering: Site,
    paying: Site,
    pressure: Pressure,
    spent: Callable[[], Spent] = nothing_spent,
) -> Bought:
    """Buy for so long; the first few purchases are a warm-up.

    Raises:
        BooksWrong: something was refused, or a payment did not arrive.
    """
    before = await count_paid(ordering)
    await shoppers.prepare(_spec(ordering, paying, pressure))
    await until_paid(ordering, before + WARMUP)
    cpu = spent()
    report = await shoppers.run()
    agree("shoppers", refused=(report["refused"], {}), warm=(report["warm"], WARMUP))
    count = report["paid"]
    arrived = await until_paid(ordering, before + WARMUP + count)
    return Bought(count / (arrived - report["started"]), spent().micros(cpu, count), WARMUP + count)


def _spec(ordering: Site, paying: Site, pressure: Pressure) -> Mapping[str, object]:
    tokens = Tokens(JWT_SECRET, SystemClock(), merchant_id="1", require_expiry=False)
    buyers = [paying.payer(n) for n in range(BUYERS)]
    body = f'{{"buyerId":"%s","totalFee":{AMOUNT},"subject":"a pair of shoes"}}'
    return {
        "ports": [ordering.port, paying.port],
        "shoppers": pressure.connections,
        "warmup": WARMUP,
        "most": pressure.orders,
        "seconds": pressure.seconds,
        "shop": tokens.mint("shop", *_SHOP),
        "bodies": {buyer: body % buyer for buyer in buyers},
        "tokens": {buyer: tokens.mint(buyer) for buyer in buyers},
        "payment": f'{{"payPassword":"{PASSWORD}"}}',
    }
