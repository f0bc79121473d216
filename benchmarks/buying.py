"""Whole purchases over HTTP: an order created at trade, paid, and marked PAID."""

from collections.abc import Callable

from benchmarks.books import agree
from benchmarks.parts import JWT_SECRET
from benchmarks.paying import WARMUP, Pressure, Site, check_paid, paybell, until_paid
from benchmarks.processes import Child, child, cpu_seconds, family, postgres_cpu, together
from benchmarks.servers import Servers
from benchmarks.stock import AMOUNT, BUYERS, PASSWORD, PAY, TRADE
from paybell.clock import SystemClock
from paybell.testing.ports import free_port
from paybell.tokens import Tokens

_SHOP = ("orders:write", "pay-orders:write")
_MICROS = 1e6


async def purchases(servers: Servers, pressure: Pressure, *, workers: int) -> dict[str, float]:
    """Buy from a service that runs as in `benchmarks.paying.http`.

    Returns:
        Purchases a second until the last order is PAID (``purchases``), and CPU for each in microseconds, of
        Python, PostgreSQL and RabbitMQ together (``purchaseMicros``).

    Raises:
        BooksWrong: something was lost or doubled, or refused.
    """
    async with servers.fresh(PAY) as pay, servers.fresh(TRADE) as trade:
        port = free_port()
        behind = paybell(servers, pay, trade, "relay", "trade", "ops", pay_url=f"http://127.0.0.1:{port}")
        api = paybell(servers, pay, trade, "api", workers=workers, port=port)
        async with child("benchmarks.shoppers") as shoppers, together(api, behind) as (paying, ordering):
            pids = [*family(paying.pid), *family(ordering.pid), servers.rabbitmq.pid]

            def spent() -> float:
                return cpu_seconds(pids) + sum(postgres_cpu(servers.postmaster).values())

            found, count = await buy(shoppers, ordering, paying, pressure, spent)
        await check_paid(servers, pay, trade, count)
    return {"purchases": found[0], "purchaseMicros": found[1]}


async def buy(
    shoppers: Child, ordering: Site, paying: Site, pressure: Pressure, spent: Callable[[], float]
) -> tuple[tuple[float, float], int]:
    """Buy for so long; the first few purchases are a warm-up.

    Returns:
        Purchases a second until the last order was marked paid, with CPU for each in microseconds; and how
        many were made in all, the warm-up's too.

    Raises:
        BooksWrong: something was refused, or a payment did not arrive.
    """
    tokens = Tokens(JWT_SECRET, SystemClock(), merchant_id="1", require_expiry=False)
    buyers = [paying.payer(n) for n in range(BUYERS)]
    body = f'{{"buyerId":"%s","totalFee":{AMOUNT},"subject":"a pair of shoes"}}'
    await shoppers.prepare(
        {
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
    )
    await until_paid(ordering, WARMUP)
    before = spent()
    report = await shoppers.run()
    agree("shoppers", refused=(report["refused"], {}), warm=(report["warm"], WARMUP))
    count = report["paid"]
    arrived = await until_paid(ordering, WARMUP + count)
    rate, micros = count / (arrived - report["started"]), _MICROS * (spent() - before) / count
    return (rate, micros), WARMUP + count
