"""``python -m benchmarks.pages``: what a buyer waits for on the cashier page, and what the console costs."""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import pairwise

import aiohttp
import msgspec
from browser import chromium, page_of
from playwright.async_api import Page
from rich.console import Console

from benchmarks.page import replace_section
from benchmarks.parts import JWT_SECRET
from benchmarks.paying import WARMUP, Pressure, drive, load_generator, paybell
from benchmarks.processes import cpu_seconds, family, postgres_cpu
from benchmarks.servers import Servers, running_servers
from benchmarks.stock import PASSWORD, PAY, TRADE, biz_order_no, make_pay, make_trade, payer_of
from paybell.clock import SystemClock
from paybell.tokens import Tokens

ORDERS = 40_000
CLICKS, LOAD_SECONDS = 200, 20.0
_TOKENS = Tokens(JWT_SECRET, SystemClock(), merchant_id="1", require_expiry=False)
# The time is the page's own: from the click to the phase in which it says "order confirmed".
_CLICK = """() => new Promise((resolve) => {
    const card = document.getElementById("card");
    const clicked = performance.now();
    new MutationObserver(() => {
        if (card.dataset.phase === "confirmed") resolve(performance.now() - clicked);
    }).observe(card, { attributes: true });
    document.getElementById("pay").click();
})"""


async def click_times(servers: Servers, clicks: int) -> list[float]:
    """Return for so many orders, one after the other, the milliseconds from the click to *confirmed*."""
    async with (
        servers.fresh(PAY) as pay,
        servers.fresh(TRADE) as trade,
        paybell(servers, pay, trade) as site,
        chromium() as browser,
        page_of(browser, locale="en") as page,
    ):
        return sorted([await _click(page, site.port, number) for number in range(1, clicks + 1)])


async def _click(page: Page, port: int, number: int) -> float:
    token = _TOKENS.mint(payer_of(number))
    await page.goto(f"http://127.0.0.1:{port}/cashier/{biz_order_no(number)}#token={token}")
    await page.locator("#card[data-phase=open]").wait_for()
    await page.keyboard.type(PASSWORD)
    return float(await page.evaluate(_CLICK))


async def console_cost(servers: Servers, seconds: float) -> dict[str, float]:
    """Return what the ops role, with a console open, costs of all CPU while payments are made over HTTP."""
    async with (
        servers.fresh(PAY) as pay,
        servers.fresh(TRADE) as trade,
        paybell(servers, pay, trade, "api", workers=2) as api,
        paybell(servers, pay, trade, "relay", "trade", pay_url=f"http://127.0.0.1:{api.port}") as rest,
        paybell(servers, pay, trade, "ops") as ops,
        _watching(ops.port) as seen,
        load_generator() as load,
    ):
        before, started = _cpu(servers, api.pid, rest.pid, ops.pid), time.monotonic()
        driven = await drive(load, api, Pressure(ORDERS, 64, seconds))
        after, lasted = _cpu(servers, api.pid, rest.pid, ops.pid), time.monotonic() - started
    spent = {name: after[name] - before[name] for name in before}
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(seen)]
    return {
        "paymentsPerSecond": driven.answered_rate,
        "payments": driven.paid + WARMUP,
        "opsCpuSeconds": spent["ops"],
        "allCpuSeconds": sum(spent.values()),
        "opsShare": spent["ops"] / sum(spent.values()),
        "seconds": lasted,
        "samples": len(seen),
        "longestGapSeconds": max(gaps, default=0.0),
    }


def _cpu(servers: Servers, api: int, rest: int, ops: int) -> dict[str, float]:
    backends = postgres_cpu(servers.postmaster)
    return {
        "ops": cpu_seconds(family(ops)) + backends.pop("bench_ops", 0.0),
        "others": cpu_seconds([*family(api), *family(rest), servers.rabbitmq.pid]) + sum(backends.values()),
    }


@asynccontextmanager
async def _watching(port: int) -> AsyncIterator[list[datetime]]:
    """Read the console's stream; yield the times of the samples that come."""
    seen: list[datetime] = []
    headers = {"Authorization": f"Bearer {_TOKENS.mint('operator', 'ops')}"}

    async def watch() -> None:
        async with (
            aiohttp.ClientSession(read_bufsize=2**24) as session,
            session.get(f"http://127.0.0.1:{port}/ops/now", headers=headers) as response,
        ):
            async for line in response.content:
                if line.startswith(b'data: {"at"'):
                    sample = msgspec.json.decode(line.partition(b": ")[2])
                    seen.append(datetime.fromisoformat(sample["at"]))

    watching = asyncio.create_task(watch())
    yield seen
    watching.cancel()


async def run(say: Console) -> dict[str, float]:
    """Prepare and measure both."""
    async with running_servers() as servers:
        await asyncio.gather(make_pay(servers, PAY, ORDERS), make_trade(servers, TRADE, ORDERS))
        say.print(f"{CLICKS} clicks, one after the other …", style="dim")
        times = await click_times(servers, CLICKS)
        say.print(f"Payments over HTTP for {LOAD_SECONDS:g} s with the console open …", style="dim")
        cost = await console_cost(servers, LOAD_SECONDS)
    cuts = statistics.quantiles(times, n=100)
    return {"clickP50Ms": cuts[49], "clickP99Ms": cuts[98], "clickMostMs": times[-1], **cost}


def _section(found: dict[str, float]) -> list[str]:
    clicks = "from the click on *pay* to *order confirmed* on the page, one buyer at a time"
    return [
        f"Taken {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
        "",
        "| what | figure | at most |",
        "|---|--:|--:|",
        f"| {clicks}, median | {found['clickP50Ms']:.0f} ms | |",
        f"| the same, p99 of {CLICKS} | {found['clickP99Ms']:.0f} ms | 150 ms |",
        f"| payments a second over HTTP while the console was open | {found['paymentsPerSecond']:,.0f} | |",
        f"| the console's share of all CPU meanwhile | {found['opsShare']:.2%} | 2 % |",
        f"| longest time between two of its samples | {found['longestGapSeconds']:.2f} s | |",
    ]


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    arguments = parser.parse_args()
    found = asyncio.run(run(Console(stderr=True)))
    replace_section("pages", _section(found))
    if arguments.json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return 0
    console = Console()
    for name, value in found.items():
        console.print(f"{name:>20}  {value:,.4g}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
