"""What a run comes to: ratios against what one would use instead, as a table and as one JSON line."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.few import RATES as FEW_RATES
from benchmarks.lists import FILTERS
from benchmarks.plan import Plan
from benchmarks.suite import Results

# What is told beside the ratios: figure, title, unit.
RATES = (
    ("pgbench", "(a) pgbench, TPC-B-like, prepared, best number of clients", "transactions/s"),
    ("settle", "settle, without HTTP", "payments/s"),
    ("settleUnlisted", "settle without the indexes of lists", "payments/s"),
    ("settleManyMerchants", "settle, 10,000 merchants", "payments/s"),
    ("httpPaid", "paid over HTTP, until the last order is PAID", "payments/s"),
    ("httpAnswered", "paid over HTTP, until the last answer", "payments/s"),
    ("articlePaid", "(c) the article's after, until the last order is paid", "payments/s"),
    ("articleAnswered", "(c) the article's after, until the last answer", "payments/s"),
    ("purchases", "order created, paid and PAID, all over HTTP", "purchases/s"),
    ("articlePurchases", "(c) the article's after, the same", "purchases/s"),
    ("relayMessages", "relay, both messages of an event", "messages/s"),
    ("rawPublish", "(e) raw pipelined publish, confirmed", "messages/s"),
    ("listen", "listener: orders marked paid", "orders/s"),
    ("rawConsume", "(e) raw consume", "messages/s"),
    ("outboxToConsumer", "outbox → RabbitMQ → order marked paid", "events/s"),
    ("faststream", "(d) FastStream with faststream-outbox, the same way", "events/s"),
    ("grownSettle", "settle, grown tables", "payments/s"),
    ("grownRelay", "relay, grown tables", "events/s"),
    ("grownListen", "listener, grown tables", "orders/s"),
    ("tradeHealthy", "paid over HTTP, a process for each role, trade healthy", "payments/s"),
    ("tradeSlow", "the same, trade takes a second for each batch", "payments/s"),
    ("tradeDown", "the same, trade is down", "payments/s"),
    ("beforeHealthy", "(b) the article's before, trade healthy", "payments/s"),
    ("beforeSlow", "(b) the article's before, trade answers in a second", "payments/s"),
    ("beforeDown", "(b) the article's before, trade is down", "payments/s"),
    ("backlogTold", "one whole service working off the grown backlog", "events/s"),
    ("loadGenerator", "the load generator alone, against a server that does nothing", "requests/s"),
)
STAGES = (
    ("http", "cpuHttp", "HTTP: parse, token, route, answer"),
    ("settle", "cpuSettle", "settle: Python and PostgreSQL"),
    ("relay", "cpuRelay", "relay: Python and PostgreSQL"),
    ("broker", "cpuBroker", "RabbitMQ, both messages"),
    ("listener", "cpuListener", "listener: Python and PostgreSQL"),
)


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that is to be shown: its values in each round, what it must be at least, what we aim at."""

    name: str
    title: str
    values: Callable[[Results], Sequence[float]]
    least: float
    aim: float
    unit: str = ""
    lower_is_better: bool = False

    def reached(self, value: float) -> str:
        """Say how far a value gets: the aim, the least, or neither."""
        sign = -1 if self.lower_is_better else 1
        if value * sign >= self.aim * sign:
            return "aim"
        return "yes" if value * sign >= self.least * sign else "NO"


def _ratio(above: str, below: str) -> Callable[[Results], Sequence[float]]:
    return lambda results: results.ratios(above, below)


def _values(name: str) -> Callable[[Results], Sequence[float]]:
    return lambda results: results.all(name)


def _worst(*pairs: tuple[str, str]) -> Callable[[Results], Sequence[float]]:
    return lambda results: [
        min(together) for together in zip(*(results.ratios(*pair) for pair in pairs), strict=False)
    ]


RATIOS = (
    Goal("settleToPgbench", "settle ÷ pgbench (a)", _ratio("settle", "pgbench"), 4.5, 6),
    Goal(
        "httpToPgbench", "paid over HTTP, everything on ÷ pgbench (a)", _ratio("httpPaid", "pgbench"), 1, 1.3
    ),
    Goal("httpToArticle", "the same ÷ the article's after (c)", _ratio("httpPaid", "articlePaid"), 20, 30),
    Goal(
        "cpuToPgbench",
        "CPU of a payment at saturation ÷ CPU of one pgbench transaction (a)",
        _ratio("httpMicros", "pgbenchMicros"),
        1,
        0.7,
        lower_is_better=True,
    ),
    Goal(
        "purchasesToPayments",
        "whole purchases ÷ payments alone, blocks in turn",
        _values("purchasesToPayments"),
        0.4,
        0.6,
    ),
    Goal(
        "purchasesToArticle",
        "whole purchases ÷ the article's after (c), the same",
        _ratio("purchases", "articlePurchases"),
        5,
        10,
    ),
    Goal("relayToRaw", "relay ÷ raw publish (e)", _ratio("relayMessages", "rawPublish"), 0.8, 0.95),
    Goal("listenerToRaw", "listener ÷ raw consume (e)", _ratio("listen", "rawConsume"), 0.75, 0.9),
    Goal(
        "outboxToFaststream",
        "outbox → broker → consumer ÷ FastStream (d)",
        _ratio("outboxToConsumer", "faststream"),
        5,
        10,
    ),
    Goal("hotMerchant", "one merchant ÷ 10,000 merchants", _ratio("settle", "settleManyMerchants"), 0.9, 1),
    Goal(
        "grownTables",
        "grown tables ÷ small ones, the worst of settle, relay, listener",
        _worst(("grownSettle", "settle"), ("grownRelay", "relay"), ("grownListen", "listen")),
        0.92,
        1,
    ),
    Goal(
        "listIndexes",
        "settle with the indexes of lists ÷ without them",
        _ratio("settle", "settleUnlisted"),
        0.95,
        1,
    ),
    Goal(
        "tradeDown",
        "trade down or slow ÷ healthy, the worse of both",
        _worst(("tradeDown", "tradeHealthy"), ("tradeSlow", "tradeHealthy")),
        0.9,
        1,
    ),
    *(
        Goal(
            name,
            f"payments by balance beside a channel that hangs ÷ without it, {what}",
            _values(name),
            least,
            1,
            lower_is_better=lower,
        )
        for name, what, least, lower in (
            ("hangRate", "rate", 0.95, False),
            ("hangP50", "p50 of the answer", 1.1, True),
            ("hangP99", "p99 of the answer", 1.3, True),
        )
    ),
)
FEW = (
    *(
        Goal(
            f"few{rate}",
            f"CPU of a payment at {rate:,}/s ÷ the bare program's (f)",
            _ratio(f"few{rate}Micros", f"bare{rate}Micros"),
            least,
            aim,
            lower_is_better=True,
        )
        for rate, least, aim in ((50, 3, 2), (300, 2.5, 1.5), (1_000, 2.5, 1.5))
    ),
    *(
        Goal(
            f"toPaid{rate}",
            f"answered → PAID at {rate:,}/s, p99 ÷ the bare program's (f)",
            _ratio(f"few{rate}PaidP99", f"bare{rate}P99"),
            3,
            1.5,
            lower_is_better=True,
        )
        for rate in (50, 1_000)
    ),
    Goal(
        "idle",
        "idle CPU of a whole service, Python and PostgreSQL, share of a core",
        _values("idleShare"),
        0.01,
        0.005,
        lower_is_better=True,
    ),
)
GOALS = (
    *RATIOS,
    Goal(
        "p99",
        "answered 200 → order PAID, p99",
        _values("paidP99"),
        25,
        10,
        "ms",
        lower_is_better=True,
    ),
    *FEW,
    Goal(
        "listP99",
        "a page of the list of pay orders, the slowest filter's p99",
        _values("listSlowest"),
        100,
        50,
        "ms",
        lower_is_better=True,
    ),
    Goal(
        "memoryMb",
        "most memory of one process, backlog run",
        _values("backlogPeakMb"),
        200,
        120,
        "MB",
        lower_is_better=True,
    ),
)


def summary(results: Results, plan: Plan) -> dict[str, object]:
    """Return the result for programs; a figure that no run counted for is null."""
    return {
        "ratios": {goal.name: _rounded(goal.values(results)) for goal in RATIOS},
        "latencyMs": {
            "p50": _rounded(results.all("paidP50")),
            "p99": _rounded(results.all("paidP99")),
            "answerP50": _rounded(results.all("answerP50")),
            "answerP99": _rounded(results.all("answerP99")),
            "offeredPerSecond": _rounded(results.all("latencyOffered")),
        },
        "cpuMicros": {stage: _rounded(results.all(figure)) for stage, figure, _ in STAGES},
        "fewMicros": {
            str(rate): {
                name: _rounded(results.all(figure.format(rate)))
                for name, figure in (
                    ("all", "few{}Micros"),
                    ("python", "few{}PythonMicros"),
                    ("postgres", "few{}PostgresMicros"),
                    ("broker", "few{}BrokerMicros"),
                    ("bare", "bare{}Micros"),
                )
            }
            for rate in FEW_RATES
        },
        "few": {goal.name: _rounded(goal.values(results)) for goal in FEW},
        "rates": {name: _rounded(results.all(name)) for name, _, _ in RATES},
        "listMs": {
            name: {"p50": _rounded(results.all(f"{name}, p50")), "p99": _rounded(results.all(f"{name}, p99"))}
            for name in FILTERS
        },
        "memoryMb": _rounded(results.all("backlogPeakMb")),
        "run": plan.name,
        "workers": _rounded(results.all("httpPaidWorkers")),
        "discarded": results.discarded,
    }


def _rounded(values: Sequence[float]) -> float | None:
    return float(f"{statistics.median(values):.4g}") if values else None


def print_tables(results: Results, console: Console) -> None:
    """Print what a person wants to see."""
    table = Table(
        "what", "median", "min to max", "at least", "aim", "reached", title="Paybell beside the others"
    )
    for goal in GOALS:
        values = goal.values(results)
        middle = statistics.median(values) if values else 0.0
        table.add_row(
            goal.title,
            f"{number(middle)} {goal.unit}" if values else "-",
            span(values),
            f"{goal.least:g}",
            f"{goal.aim:g}",
            goal.reached(middle) if values else "not measured",
        )
    console.print(table)
    table = Table("rate", "median", "min to max", "rounds", "", title="Rates")
    for name, title, unit in RATES:
        values = results.all(name)
        table.add_row(title, number(results.median(name)), span(values), str(len(values)), unit)
    console.print(table)
    table = Table("stage", "CPU µs for each payment", title="Where the time goes")
    for _, figure, title in STAGES:
        table.add_row(title, number(results.median(figure)))
    console.print(table)
    for reason in results.discarded:
        console.print(f"Does not count: {reason}", style="red")


def number(value: float) -> str:
    """Write a figure with three digits that matter."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def span(values: Sequence[float]) -> str:
    """Write the least and the most of several rounds."""
    return f"{number(min(values))} to {number(max(values))}" if values else "-"
