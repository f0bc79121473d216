"""What paying costs where, and that it neither waits for nor fails with the order service."""

from dataclasses import dataclass
from functools import partial

from benchmarks.paying import Driven, Pressure, check_paid, drive, load_generator, paybell, until_paid
from benchmarks.processes import cpu_seconds, family, postgres_cpu, together
from benchmarks.servers import Servers
from benchmarks.stock import PAY, TRADE

# Every statement that marks orders takes a second: that is how an order service answers that is ill.
_SLOW = """
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$;
CREATE TRIGGER dawdle BEFORE UPDATE ON orders FOR EACH STATEMENT EXECUTE FUNCTION dawdle()
"""
_MICROS = 1e6


@dataclass(frozen=True, slots=True)
class _Spent:
    """CPU seconds so far, of each process and of PostgreSQL's backends by whom they serve."""

    api: float
    relay: float
    trade: float
    broker: float
    postgres: dict[str, float]


async def outage(servers: Servers, pressure: Pressure, *, settle_micros: float) -> dict[str, float]:
    """Pay with each role in a process of its own: trade healthy (and what each costs), slow, down, back.

    Args:
        servers: to run on.
        pressure: for each of the three, but with the orders shared by them.
        settle_micros: what settling costs the Python process without HTTP, to be told apart from it.

    Raises:
        BooksWrong: something was lost or doubled, or did not arrive when trade was back.
    """
    async with servers.fresh(PAY) as pay, servers.fresh(TRADE) as trade:

        async def pay_some(nth: int, *, arrives: bool) -> Driven:
            return await drive(load, api, pressure, part=(nth, 3), arrives=arrives)

        always = paybell(servers, pay, trade, "api"), paybell(servers, pay, trade, "relay")
        async with load_generator() as load, together(*always) as (api, relaying):
            pay_url = f"http://127.0.0.1:{api.port}"
            trade_role = partial(paybell, servers, pay, trade, "trade", pay_url=pay_url)
            async with trade_role() as trading:
                before = _spent(servers, api.pid, relaying.pid, trading.pid)
                healthy = await pay_some(0, arrives=True)
                after = _spent(servers, api.pid, relaying.pid, trading.pid)
                await servers.execute(_SLOW, trade)
                slow = await pay_some(1, arrives=False)
            down = await pay_some(2, arrives=False)
            await servers.execute("DROP FUNCTION dawdle CASCADE", trade)
            count = sum(one.warm + one.paid for one in (healthy, slow, down))
            async with trade_role() as again:
                await until_paid(again, count)
        await check_paid(servers, pay, trade, count)
    micros = _micros(before, after, healthy.warm + healthy.paid, settle_micros)
    return micros | {
        "tradeHealthy": healthy.answered_rate,
        "tradeSlow": slow.answered_rate,
        "tradeDown": down.answered_rate,
    }


def _spent(servers: Servers, api: int, relaying: int, trading: int) -> _Spent:
    return _Spent(
        api=cpu_seconds(family(api)),
        relay=cpu_seconds(family(relaying)),
        trade=cpu_seconds(family(trading)),
        broker=cpu_seconds([servers.rabbitmq.pid]),
        postgres=postgres_cpu(servers.postmaster),
    )


def _micros(before: _Spent, after: _Spent, payments: int, settle_micros: float) -> dict[str, float]:
    """Return CPU µs for each payment by stage; a stage is its process and the backends that serve it."""

    def each(seconds: float) -> float:
        return seconds / payments * _MICROS

    def backends(user: str) -> float:
        return each(after.postgres.get(user, 0.0) - before.postgres.get(user, 0.0))

    python = each(after.api - before.api)
    settle_micros = min(settle_micros, python)
    return {
        "cpuHttp": python - settle_micros,
        "cpuSettle": settle_micros + backends("bench_api"),
        "cpuRelay": each(after.relay - before.relay) + backends("bench_relay"),
        "cpuBroker": each(after.broker - before.broker),
        "cpuListener": each(after.trade - before.trade) + backends("bench_trade"),
        "cpuPostgresBackground": backends("background"),
        "cpuSettlePython": settle_micros,
        "cpuRelayPython": each(after.relay - before.relay),
        "cpuListenerPython": each(after.trade - before.trade),
    }
