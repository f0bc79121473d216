"""Measurements of the bare parts: settle, relay, listen, one after the other on the same payments."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.books import agree, check_pay, check_trade
from benchmarks.processes import Child, child, postgres_cpu
from benchmarks.servers import Servers
from benchmarks.stock import PAY, TRADE

_PARTS = "benchmarks.parts"
PAYBELL = "Paybell"


async def pipeline(servers: Servers, count: int, *, lanes: int) -> dict[str, float]:
    """Settle ``count`` payments, then relay their events, then apply their messages, each alone."""
    async with servers.fresh(PAY) as pay, servers.fresh(TRADE) as trade:
        settled, settle_cpu = await settle(servers, pay, 1, count, lanes=lanes)
        await check_pay(servers.url(pay), PAYBELL, paid=count, untold=count)
        relayed = await relay(servers, pay, count)
        await check_pay(servers.url(pay), PAYBELL, paid=count, untold=0)
        agree(PAYBELL, queued=(await servers.queued(), count))
        listened = await listen(servers, trade, count)
        await check_trade(servers.url(trade), PAYBELL, paid=count)
        agree(PAYBELL, left=(await servers.empty_queue(), 0))
    return {
        "settle": settled,
        "settlePythonMicros": settle_cpu,
        "relayMessages": 2 * relayed,
        "listen": listened,
    }


async def settle(
    servers: Servers, database: str, first: int, count: int, *, lanes: int = 1
) -> tuple[float, float]:
    """Settle orders ``first`` on; return payments per second, and CPU µs of the Python process for each."""
    spec = {"pay": servers.url(database), "first": first, "count": count, "lanes": lanes}
    async with child(_PARTS, spec, "settle") as one:
        report = await _run(one)
    agree(PAYBELL, refused=(report["refused"], 0))
    return count / seconds(report), report["cpu"] / count * 1e6


async def relay(servers: Servers, database: str, count: int) -> float:
    """Relay ``count`` events (or the rest of a batch more); return events per second."""
    spec = {"pay": servers.url(database), "broker": servers.rabbitmq.url, "count": count}
    async with child(_PARTS, spec, "relay") as one:
        report = await _run(one)
    return float(report["events"] / seconds(report))


async def listen(servers: Servers, database: str, count: int) -> float:
    """Apply ``count`` messages out of the queue; return orders marked paid per second."""
    spec = {"trade": servers.url(database), "broker": servers.rabbitmq.url, "count": count}
    async with child(_PARTS, spec, "listen") as one:
        report = await _run(one)
    return count / seconds(report)


async def end_to_end(servers: Servers, count: int) -> dict[str, float]:
    """Begin with ``count`` events in the outbox; return how many a second arrive as paid orders."""
    async with servers.fresh(PAY) as pay, servers.fresh(TRADE) as trade, AsyncExitStack() as stack:
        await settle(servers, pay, 1, count)
        spec = {"broker": servers.rabbitmq.url, "count": count}
        listener = await stack.enter_async_context(
            child(_PARTS, spec | {"trade": servers.url(trade)}, "listen")
        )
        relaying = await stack.enter_async_context(child(_PARTS, spec | {"pay": servers.url(pay)}, "relay"))
        await listener.go()
        sent, applied = await asyncio.gather(_run(relaying), listener.result())
        await check_pay(servers.url(pay), PAYBELL, paid=count, untold=0)
        await check_trade(servers.url(trade), PAYBELL, paid=count)
        agree(PAYBELL, left=(await servers.empty_queue(), 0))
    return {"outboxToConsumer": count / (applied["ended"] - sent["started"])}


async def hot_merchant(servers: Servers, many: str, count: int) -> dict[str, float]:
    """Settle for one merchant, then for many; the books of both are checked."""
    rates = {}
    for name, template in (("settleOneMerchant", PAY), ("settleManyMerchants", many)):
        async with servers.fresh(template) as pay:
            rates[name], _ = await settle(servers, pay, 1, count)
            await check_pay(servers.url(pay), PAYBELL, paid=count, untold=count)
    return rates


async def _run(one: Child) -> dict[str, Any]:
    await one.go()
    return await one.result()


def seconds(report: dict[str, Any]) -> float:
    """Return how long the measured part of a process took."""
    return float(report["ended"] - report["started"])


__all__ = ["end_to_end", "hot_merchant", "listen", "pipeline", "postgres_cpu", "relay", "settle"]
