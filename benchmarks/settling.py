"""Measurements of the bare parts: settle, relay, listen, one after the other on the same payments."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Literal, Self

from benchmarks.books import agree, check_pay, check_trade
from benchmarks.processes import Child, child
from benchmarks.servers import Servers
from benchmarks.stock import PAY, TRADE

PAYBELL = "Paybell"
# Two batches at a time: what two workers, or two machines, do to one database.
LANES = 2
What = Literal["settle", "relay", "listen"]


class Parts:
    """A process for each part, kept for the whole run: starting one takes longer than a measurement."""

    def __init__(self, servers: Servers) -> None:
        """Start them when they are needed."""
        self.servers = servers
        self._stack = AsyncExitStack()
        self._children: dict[str, Child] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def prepare(
        self, what: What, count: int, *, pay: str = "", trade: str = "", first: int = 1
    ) -> Child:
        """Prepare a part for its work on these databases and return it."""
        one = self._children.get(what)
        if one is None or not one.alive:
            one = await self._stack.enter_async_context(child("benchmarks.parts", what))
            self._children[what] = one
        await one.prepare(
            {
                "pay": self.servers.url(pay),
                "trade": self.servers.url(trade),
                "broker": self.servers.rabbitmq.url,
                "first": first,
                "count": count,
                "lanes": LANES,
            }
        )
        return one

    async def settle(self, pay: str, first: int, count: int) -> dict[str, Any]:
        """Settle ``count`` orders from ``first`` on."""
        report = await (await self.prepare("settle", count, pay=pay, first=first)).run()
        agree(PAYBELL, refused=(report["refused"], 0))
        return report

    async def relay(self, pay: str, count: int) -> dict[str, Any]:
        """Relay ``count`` events, or the rest of a batch more."""
        return await (await self.prepare("relay", count, pay=pay)).run()

    async def listen(self, trade: str, count: int) -> dict[str, Any]:
        """Apply ``count`` messages out of the queue."""
        return await (await self.prepare("listen", count, trade=trade)).run()


async def pipeline(parts: Parts, count: int) -> dict[str, float]:
    """Settle ``count`` payments, then relay their events, then apply their messages, each alone.

    Raises:
        BooksWrong: something was lost or doubled, after any of the steps.
    """
    servers = parts.servers
    async with servers.fresh(PAY) as pay, servers.fresh(TRADE) as trade:
        settled = await parts.settle(pay, 1, count)
        await check_pay(servers.url(pay), PAYBELL, paid=count, untold=count)
        relayed = await parts.relay(pay, count)
        await check_pay(servers.url(pay), PAYBELL, paid=count, untold=0)
        agree(PAYBELL, queued=(await servers.queued(), count))
        listened = await parts.listen(trade, count)
        await check_trade(servers.url(trade), PAYBELL, paid=count)
        agree(PAYBELL, left=(await servers.empty_queue(), 0))
    return {
        "settle": count / seconds(settled),
        "settlePythonMicros": settled["cpu"] / count * 1e6,
        "relay": count / seconds(relayed),
        "relayMessages": 2 * count / seconds(relayed),
        "listen": count / seconds(listened),
    }


async def end_to_end(parts: Parts, count: int) -> dict[str, float]:
    """Begin with ``count`` events in the outbox; return how many a second arrive as paid orders.

    Raises:
        BooksWrong: something was lost or doubled.
    """
    servers = parts.servers
    async with servers.fresh(PAY) as pay, servers.fresh(TRADE) as trade:
        await parts.settle(pay, 1, count)
        listening = await parts.prepare("listen", count, trade=trade)
        relaying = await parts.prepare("relay", count, pay=pay)
        sent, applied = await asyncio.gather(relaying.run(), listening.run())
        await check_pay(servers.url(pay), PAYBELL, paid=count, untold=0)
        await check_trade(servers.url(trade), PAYBELL, paid=count)
        agree(PAYBELL, left=(await servers.empty_queue(), 0))
    return {"outboxToConsumer": count / (applied["ended"] - sent["started"])}


async def many_merchants(parts: Parts, template: str, count: int) -> dict[str, float]:
    """Settle as `pipeline` does, for as many merchants as the template has.

    Raises:
        BooksWrong: something was lost or doubled.
    """
    servers = parts.servers
    async with servers.fresh(template) as pay:
        report = await parts.settle(pay, 1, count)
        await check_pay(servers.url(pay), PAYBELL, paid=count, untold=count)
    return {"settleManyMerchants": count / seconds(report)}


def seconds(report: dict[str, Any]) -> float:
    """Return how long the measured part of a process took."""
    return float(report["ended"] - report["started"])
