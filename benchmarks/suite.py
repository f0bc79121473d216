"""One run: every contender in turn, again and again, on the same two servers."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from benchmarks import buying, few, growing, hanging, lists, outage, paying, settling, stock
from benchmarks.books import BooksWrong
from benchmarks.paying import Pressure
from benchmarks.peers import article, article_after, article_before, faststream_outbox, pgbench, raw_amqp
from benchmarks.plan import Plan
from benchmarks.processes import Failed, family, until_quiet
from benchmarks.servers import Servers

MANY = "pay_many"
Figures = dict[str, float]
Measure = Callable[[int], Awaitable[Figures]]


@dataclass(slots=True)
class Results:
    """Every figure of every round, and the runs that do not count."""

    rounds: dict[str, dict[int, float]] = field(default_factory=dict)
    discarded: list[str] = field(default_factory=list)

    def add(self, nth: int, figures: Mapping[str, float]) -> None:
        """Keep what a measurement of the nth round found."""
        for name, value in figures.items():
            self.rounds.setdefault(name, {})[nth] = value

    def all(self, name: str) -> list[float]:
        """Return a figure's values of all rounds; none if it was never measured."""
        return list(self.rounds.get(name, {}).values())

    def median(self, name: str) -> float:
        """Return a figure's median; 0 if it was never measured."""
        return statistics.median(self.all(name) or [0.0])

    def ratios(self, above: str, below: str) -> list[float]:
        """Return a ratio of each round that has both figures: neighbours in time, so that noise hits both."""
        tops, bottoms = self.rounds.get(above, {}), self.rounds.get(below, {})
        return [tops[nth] / bottoms[nth] for nth in tops.keys() & bottoms.keys() if bottoms[nth]]


class Suite:
    """The measurements of a plan."""

    def __init__(self, servers: Servers, plan: Plan, say: Callable[[str], object]) -> None:
        """Run on these servers; ``say`` is told what is going on."""
        self._servers = servers
        self._plan = plan
        self._say = say
        self.results = Results()
        self._parts = settling.Parts(servers)

    async def run(self) -> Results:
        """Prepare, measure round after round, check what can only be checked at the end."""
        await self._prepare()
        async with self._parts:
            await self._rounds(time.monotonic())
        await self._measure(0, "backlog", self._backlog)
        await self._measure(0, "nothing to do", lambda _: few.idle(self._servers, self._plan.idle_seconds))
        await self._measure(0, "lists", self._lists)
        if self._plan.hanging_seconds:
            await self._measure(0, "a channel that hangs", self._hanging)
        return self.results

    async def _rounds(self, started: float) -> None:
        lasted: dict[str, float] = {}
        for nth in range(self._plan.rounds_max):
            measures = list(self._measures().items())
            for name, measure in measures if nth % 2 == 0 else reversed(measures):
                left = self._plan.budget_seconds - (time.monotonic() - started)
                if nth and lasted.get(name, 0.0) > left:
                    continue
                lasted[name] = await self._measure(nth, name, measure)

    async def _prepare(self) -> None:
        servers, plan = self._servers, self._plan
        orders = max(plan.payments, plan.http_orders)
        self._say("Preparing databases …")
        await asyncio.gather(
            stock.make_pay(servers, stock.PAY, orders),
            stock.make_trade(servers, stock.TRADE, orders),
            stock.make_pay(servers, MANY, plan.payments, merchants=plan.many_merchants),
            article.prepare(servers, plan.http_orders),
            pgbench.prepare(servers, plan.pgbench_scale),
            growing.prepare(servers, plan.payments * plan.rounds_max, plan.grown),
        )
        await faststream_outbox.prepare(servers, plan.faststream_events)

    def _measures(self) -> dict[str, Measure]:
        servers, plan = self._servers, self._plan
        pressure = Pressure(plan.http_orders, plan.connections, plan.http_seconds)
        measures: dict[str, Measure] = {
            "pgbench": lambda _: self._pgbench(),
            "settle, relay, listen": lambda _: settling.pipeline(self._parts, plan.payments),
            "settle without the lists' indexes": lambda _: lists.settle_unlisted(self._parts, plan.payments),
            "raw AMQP": lambda _: raw_amqp.rates(servers, plan.payments),
            "many merchants": lambda _: settling.many_merchants(self._parts, MANY, plan.payments),
            "grown tables": self._grown,
            "outbox to consumer": lambda _: settling.end_to_end(self._parts, plan.payments),
            "FastStream": lambda _: faststream_outbox.measure(servers, plan.faststream_events),
            "HTTP": lambda _: self._best_workers(partial(self._http, pressure), "httpPaid"),
            "few payments": lambda _: few.few(
                servers,
                Pressure(plan.http_orders, plan.connections, plan.few_seconds),
            ),
            "the article, after": lambda _: self._best_workers(
                partial(article_after.measure, servers, pressure), "articlePaid"
            ),
            "purchases": lambda _: buying.purchases(
                servers,
                Pressure(plan.http_orders, plan.connections, plan.block_seconds),
                workers=plan.workers[-1],
            ),
            "the article, purchases": lambda _: self._best_workers(
                partial(article_after.purchases, servers, pressure), "articlePurchases"
            ),
            "trade healthy, ill, down": lambda _: outage.outage(
                servers, pressure, settle_micros=self.results.median("settlePythonMicros")
            ),
        }
        if plan.before:
            measures["the article, before"] = lambda _: article_before.measure(servers, pressure, workers=1)
        return measures

    async def _measure(self, nth: int, name: str, measure: Measure) -> float:
        self._say(f"Round {nth + 1}: {name} …")
        started = time.monotonic()
        busy = [self._servers.rabbitmq.pid, *family(self._servers.postmaster)]
        await until_quiet(busy)
        try:
            self.results.add(nth, await measure(nth))
        except (BooksWrong, Failed) as error:
            self.results.discarded.append(f"{name}: {error}")
            self._say(f"Does not count: {name}: {error}")
        lasted = time.monotonic() - started
        self._say(f"         {lasted:.1f} s")
        return lasted

    async def _hanging(self, _: int) -> Figures:
        plan = self._plan
        pressure = Pressure(plan.http_orders, plan.connections, plan.hanging_seconds)
        return await hanging.hanging(self._servers, pressure)

    async def _pgbench(self) -> Figures:
        plan = self._plan
        found = [
            await pgbench.run(self._servers, clients, plan.pgbench_seconds)
            for clients in plan.pgbench_clients
        ]
        rate, micros = max(found)
        return {"pgbench": rate, "pgbenchMicros": micros}

    async def _http(self, pressure: Pressure, *, workers: int) -> Figures:
        """Measure the rate; and the latency with the fewest workers, whose batches are the largest."""
        offered = self._plan.offered if workers == self._plan.workers[0] else 0.0
        return await paying.http(self._servers, pressure, workers=workers, offered=offered)

    async def _best_workers(self, measure: Callable[..., Awaitable[Figures]], by: str) -> Figures:
        found = [await measure(workers=workers) | {f"{by}Workers": workers} for workers in self._plan.workers]
        return found[0] | max(found, key=lambda figures: figures[by])

    async def _grown(self, nth: int) -> Figures:
        return await growing.measure(self._parts, nth, self._plan.payments)

    async def _lists(self, _: int) -> Figures:
        return await lists.measure(self._servers, self._plan.listed, self._plan.list_pages)

    async def _backlog(self, _: int) -> Figures:
        found = await growing.backlog(self._servers, self._plan.backlog_seconds)
        settled = len(self.results.all("grownSettle")) * self._plan.payments
        await growing.check(self._servers, self._plan.grown, settled)
        return found
