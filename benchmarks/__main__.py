"""``python -m benchmarks [--quick] [--rounds N] [--json]``, from the root of the repository."""

import argparse
import asyncio
import math
import signal
import sys
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import msgspec
from rich.console import Console

from benchmarks import page
from benchmarks.paying import generator_limit
from benchmarks.plan import FULL, QUICK, Plan
from benchmarks.report import print_tables, summary
from benchmarks.servers import running_servers
from benchmarks.suite import Results, Suite


async def run(plan: Plan, console: Console) -> Results:
    """Start the servers, measure, write the page."""

    def say(sentence: str) -> None:
        console.print(sentence, style="dim", highlight=False)

    say("Starting PostgreSQL and RabbitMQ …")
    async with running_servers() as servers:
        around = await page.surroundings(servers)
        suite = Suite(servers, plan, say)
        suite.results.add(0, await generator_limit(plan.connections, min(1.0, plan.http_seconds / 2)))
        results = await suite.run()
    page.write(results, plan, around)
    return results


def main() -> int:
    """Return 0 when every run of every contender counted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some minutes, with smaller sizes")
    parser.add_argument("--rounds", type=int, help="exactly so many, however long they take")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    if arguments.rounds:
        plan = replace(plan, rounds_max=arguments.rounds, budget_seconds=math.inf)
    results = asyncio.run(_ended_by_sigterm(run(plan, Console(stderr=True))))
    print_tables(results, Console(stderr=arguments.json, width=140))
    if arguments.json:
        sys.stdout.write(msgspec.json.encode(summary(results, plan)).decode() + "\n")
    return 1 if results.discarded else 0


async def _ended_by_sigterm(work: Coroutine[Any, Any, Results]) -> Results:
    """End in order when told to, so that no server is left behind."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


if __name__ == "__main__":
    sys.exit(main())
