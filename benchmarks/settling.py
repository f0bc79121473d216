"""Measurements of the bare parts: settle, relay, listen, one after the other on the same payments."""

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from benchmarks.books import agree, check_pay, check_trade
from benchmarks.processes import Child, child
from benchmarks.servers import Servers
from benchmarks.stock import PAY, TRADE

PAYBELL = "Paybell"
# Two batches at a time: what two workers, or two machines, do to one database.
LANES = 2


async def pipeline(servers: Servers, count: int) -> dict[str, float]:
    """Settle ``count`` payments, then relay their events, then apply their messages, each alone.

    Raises:
        BooksWrong: something was lost or doubled, after any of the steps.
    """
    async with servers.fresh(PAY) as pay, servers.fresh(TRADE) as trade, AsyncExitStack() as stack:
        # Started together, because starting takes longer than measuring; they go one after the other.
        settling, relaying, listening = await asyncio.gather(
            *(
                stack.enter_async_context(_part(servers, what, count, pay=pay, trade=trade))
                for what in ("settle", "relay", "listen")
            )
        )
        settled = await _run(settling)
        agree(PAYBELL, refused=(settled["refused"], 0))
        await check_pay(servers.url(pay), PAYBELL, paid=count, untold=count)
        relayed = await _run(relaying)
        await check_pay(servers.url(pay), PAYBELL, paid=count, untold=0)
        agree(PAYBELL, queued=(await servers.queued(), count))
        listened = await _run(listening)
        await check_trade(servers.url(trade), PAYBELL, paid=count)
        agree(PAYBELL, left=(await servers.empty_queue(), 0))
    return {
        "settle": count / _seconds(settled),
        "settlePythonMicros": settled["cpu"] / count * 1e6,
        "relay": count / _seconds(relayed),
        "relayMessages": 2 * count / _seconds(relayed),
        "listen": count / _seconds(listened),
    }


async def settle(servers: Servers, database: str, first: int, count: int) -> float:
    """Settle orders ``first`` on; return payments per second."""
    async with _part(servers, "settle", count, pay=database, first=first) as one:
        report = await _run(one)
    agree(PAYBELL, refused=(report["refused"], 0))
    return count / _seconds(report)


async def relay(servers: Servers, database: str, count: int) -> float:
    """Relay ``count`` events, or the rest of a batch more; return events per second."""
    async with _part(servers, "relay", count, pay=database) as one:
        report = await _run(one)
    return float(report["events"] / _seconds(report))


async def listen(servers: Servers, database: str, count: int) -> float:
    """Apply ``count`` messages out of the queue; return orders marked paid per second."""
    async with _part(servers, "listen", count, trade=database) as one:
        report = await _run(one)
    return count / _seconds(report)


async def end_to_end(servers: Servers, count: int) -> dict[str, float]:
    """Begin with ``count`` events in the outbox; return how many a second arrive as paid orders.

    Raises:
        BooksWrong: something was lost or doubled.
    """
    async with servers.fresh(PAY) as pay, servers.fresh(TRADE) as trade, AsyncExitStack() as stack:
        settling, relaying, listening = await asyncio.gather(
            *(
                stack.enter_async_context(_part(servers, what, count, pay=pay, trade=trade))
                for what in ("settle", "relay", "listen")
            )
        )
        await _run(settling)
        await listening.go()
        sent, applied = await asyncio.gather(_run(relaying), listening.result())
        await check_pay(servers.url(pay), PAYBELL, paid=count, untold=0)
        await check_trade(servers.url(trade), PAYBELL, paid=count)
        agree(PAYBELL, left=(await servers.empty_queue(), 0))
    return {"outboxToConsumer": count / (applied["ended"] - sent["started"])}


async def many_merchants(servers: Servers, template: str, count: int) -> dict[str, float]:
    """Settle as `pipeline` does, for as many merchants as the template has.

    Raises:
        BooksWrong: something was lost or doubled.
    """
    async with servers.fresh(template) as pay:
        rate = await settle(servers, pay, 1, count)
        await check_pay(servers.url(pay), PAYBELL, paid=count, untold=count)
    return {"settleManyMerchants": rate}


def _part(
    servers: Servers, what: str, count: int, *, pay: str = "", trade: str = "", first: int = 1
) -> AbstractAsyncContextManager[Child]:
    spec = {
        "pay": servers.url(pay),
        "trade": servers.url(trade),
        "broker": servers.rabbitmq.url,
        "first": first,
        "count": count,
        "lanes": LANES,
    }
    return child("benchmarks.parts", spec, what)


async def _run(one: Child) -> dict[str, Any]:
    await one.go()
    return await one.result()


def _seconds(report: dict[str, Any]) -> float:
    return float(report["ended"] - report["started"])
