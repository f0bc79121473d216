"""Whether years of paid orders and a long backlog make it slower, and how much memory a backlog takes."""

import asyncio
import time

from benchmarks.books import BooksWrong, agree, check_pay, check_trade
from benchmarks.paying import paybell
from benchmarks.processes import family, peak_mb
from benchmarks.servers import Servers, connected
from benchmarks.settling import Parts, seconds
from benchmarks.stock import Grown, make_grown
from paybell.testing.ports import free_port

GROWN_PAY, GROWN_TRADE = "grown_pay", "grown_trade"
_POLL_SECONDS = 0.2
_NAME = "Paybell, grown"


async def prepare(servers: Servers, orders: int, grown: Grown) -> None:
    """Make the grown databases, with ``orders`` more that wait to be paid; begin with nothing to write."""
    await make_grown(servers, GROWN_PAY, GROWN_TRADE, orders, grown)
    await servers.execute("CHECKPOINT")


async def measure(parts: Parts, nth: int, count: int) -> dict[str, float]:
    """Settle, relay and listen on the grown databases; the same round has measured the small ones.

    The grown ones are not copied but used up: the nth time begins at the nth ``count`` orders. Their oldest
    events are those of the backlog, so what is relayed and applied here is backlog.
    """
    settled = await parts.settle(GROWN_PAY, 1 + nth * count, count)
    relayed = await parts.relay(GROWN_PAY, count)
    queued = await parts.servers.queued()
    listened = await parts.listen(GROWN_TRADE, queued)
    return {
        "grownSettle": count / seconds(settled),
        "grownRelay": relayed["events"] / seconds(relayed),
        "grownListen": queued / seconds(listened),
    }


async def backlog(servers: Servers, most_seconds: float) -> dict[str, float]:
    """Let one whole ``paybell serve`` work the backlog off, for so long at most; return its peak of memory.

    Raises:
        BooksWrong: after it stopped, an event is neither in the outbox nor in the queue nor applied.
    """
    before = await _counts(servers)
    # Without ops: what has been in the outbox for years and is in the queue now looks lost to a comparison.
    port = free_port()
    roles, url = ("api", "relay", "trade"), f"http://127.0.0.1:{port}"
    async with paybell(servers, GROWN_PAY, GROWN_TRADE, *roles, port=port, pay_url=url) as site:
        started = time.monotonic()
        while time.monotonic() < started + most_seconds and (await _counts(servers))[0]:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)  # another process does the work
        peak = max(peak_mb(pid) for pid in family(site.pid))
        elapsed = time.monotonic() - started
    untold, applied = await _counts(servers)
    queued = await servers.queued()
    told = before[0] - untold
    if told <= 0:
        raise BooksWrong(f"{_NAME}: nothing of the backlog was told")
    agree(_NAME, told=(told, applied - before[1] + queued))
    return {"backlogPeakMb": peak, "backlogTold": told / elapsed}


async def check(servers: Servers, grown: Grown, settled: int) -> None:
    """Check the grown books once, at the end: it takes a while.

    Raises:
        BooksWrong: something was lost or doubled.
    """
    untold, applied = await _counts(servers)
    queued = await servers.empty_queue()
    paid = grown.paid + settled
    agree(_NAME, known=(untold + applied + queued, paid))
    await check_pay(servers.url(GROWN_PAY), _NAME, paid=paid, untold=untold)
    await check_trade(servers.url(GROWN_TRADE), _NAME, paid=applied)


async def _counts(servers: Servers) -> tuple[int, int]:
    """Return how many events wait in the outbox, and how many the order service has applied."""
    async with connected(servers.url(GROWN_PAY)) as pay, connected(servers.url(GROWN_TRADE)) as trade:
        return (
            await pay.fetchval("SELECT count(*) FROM outbox"),
            await trade.fetchval("SELECT count(*) FROM inbox"),
        )
