"""`docs/benchmarks.md`: each kind of run writes its own section and leaves the rest alone."""

import os
import platform
import re
import statistics
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pika

from benchmarks.lists import FILTERS
from benchmarks.plan import Plan
from benchmarks.report import GOALS, RATES, STAGES, Goal, number, span
from benchmarks.servers import Servers, connected
from benchmarks.suite import Results

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_BAR = 24
_SETTINGS = ["fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size"]
_PACKAGES = (
    "paybell",
    "asyncpg",
    "pika",
    "uvloop",
    "uvicorn",
    "litestar",
    "msgspec",
    "fastapi",
    "sqlalchemy",
    "aio-pika",
    "httpx",
    "faststream",
    "faststream-outbox",
)


async def surroundings(servers: Servers) -> dict[str, str]:
    """Return what the figures were taken on; the load is that of before the run."""
    async with connected(servers.url("postgres")) as connection:
        postgres = await connection.fetchval("SHOW server_version")
        settings = await connection.fetch(
            "SELECT name, setting FROM pg_settings WHERE name = ANY($1) ORDER BY name", _SETTINGS
        )
    with pika.BlockingConnection(pika.URLParameters(servers.rabbitmq.url)) as broker:
        rabbitmq = broker._impl.server_properties["version"]  # noqa: SLF001 - it has no public name
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "load before": f"{os.getloadavg()[0]:.1f} processes",
        "PostgreSQL": f"{postgres} ({', '.join(f'{name} {value}' for name, value in settings)})",
        "RabbitMQ": rabbitmq,
        "packages": ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
    }


def _processor() -> str:
    try:
        match = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        match = None
    return match[1] if match else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(source)"


def write(results: Results, plan: Plan, around: dict[str, str]) -> None:
    """Replace this run's section of the page."""
    replace_section(plan.name, list(_section(results, plan, around)))


def replace_section(name: str, lines: list[str]) -> None:
    """Put these lines into the section of a kind of run."""
    begin, end = f"<!-- {name} run -->", f"<!-- end of {name} run -->"
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    section = "\n".join(lines)
    PAGE.write_text(f"{before}{begin}\n{section}\n{end}{after}", encoding="utf-8")


def _section(results: Results, plan: Plan, around: dict[str, str]) -> Iterator[str]:
    yield f"Taken {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."
    yield ""
    yield "| what | median | min to max | at least | aim | reached | |"
    yield "|---|--:|--:|--:|--:|---|---|"
    for goal in GOALS:
        values = goal.values(results)
        if not values:
            yield f"| {goal.title} | - | - | {goal.least:g} | {goal.aim:g} | not measured | |"
            continue
        middle = statistics.median(values)
        yield (
            f"| {goal.title} | {number(middle)} {goal.unit} | {span(values)} | {goal.least:g} | {goal.aim:g} "
            f"| {goal.reached(middle)} | `{_bar(goal, middle)}` |"
        )
    yield ""
    yield "| rate | median | min to max | rounds | |"
    yield "|---|--:|--:|--:|---|"
    for name, title, unit in RATES:
        values = results.all(name)
        yield f"| {title} | {number(results.median(name))} | {span(values)} | {len(values)} | {unit} |"
    yield ""
    yield "| stage | CPU µs for each payment | |"
    yield "|---|--:|---|"
    most = max(results.median(figure) for _, figure, _ in STAGES) or 1.0
    for _, figure, title in STAGES:
        micros = results.median(figure)
        yield f"| {title} | {number(micros)} | `{'█' * round(_BAR * micros / most)}` |"
    yield ""
    yield f"| a page of {plan.listed:,} pay orders, made over 92 days | p50, ms | p99, ms |"
    yield "|---|--:|--:|"
    for name in FILTERS:
        cuts = [number(results.median(f"{name}, {cut}")) for cut in ("p50", "p99")]
        yield f"| {name} | {' | '.join(cuts)} |"
    yield ""
    yield " ".join(_sentences(results, plan))
    yield ""
    yield from (f"- {what}: {value}" for what, value in around.items())
    for reason in results.discarded:
        yield f"- does not count: {reason}"


def _sentences(results: Results, plan: Plan) -> Iterator[str]:
    def median(name: str) -> str:
        return number(results.median(name))

    yield f"Latency, with {plan.workers[0]} worker(s): at {median('latencyOffered')} payments/s offered,"
    yield f"answered after {median('answerP50')} ms (p99 {median('answerP99')} ms),"
    yield f"PAID {median('paidP50')} ms after that (p99 {median('paidP99')} ms)."
    yield f"Over HTTP with {median('httpPaidWorkers')} workers at best, the article's port with"
    yield f"{median('articlePaidWorkers')}. The load generator used"
    yield f"{results.median('loadShare'):.0%} of a core. {plan.payments:,} payments in each run of the bare"
    yield f"parts, {plan.http_seconds:g} s in each over HTTP; {plan.grown.paid:,} paid orders and"
    yield f"{plan.grown.pending:,} pending events in the grown databases."


def _bar(goal: Goal, value: float) -> str:
    """Draw a value: full is the aim; the mark is what it must be at least."""
    share = goal.aim / value if goal.lower_is_better else value / goal.aim
    must = goal.aim / goal.least if goal.lower_is_better else goal.least / goal.aim
    cells = ["█" if cell < round(_BAR * share) else "·" for cell in range(_BAR)]
    cells.insert(min(_BAR, round(_BAR * must)), "|")
    return "".join(cells)
