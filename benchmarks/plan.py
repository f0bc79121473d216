"""How much is measured: a full run, and a quick one of the same measurements."""

from dataclasses import dataclass

from benchmarks.stock import Grown


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes and times of one run.

    Attributes:
        name: of the run.
        budget_seconds: every measurement is made once, then again and again until this is used up.
        rounds_max: but not more often than this.
        payments: of one run of the bare parts.
        http_orders: orders there are for one run over HTTP.
        http_seconds: how long one run over HTTP goes on.
        connections: requests on their way at the same time.
        workers: numbers of workers of ``paybell serve`` to try, fewest first; the article's port gets as
            many, and the latency is taken with the first.
        pgbench_scale: branches of pgbench, more than clients.
        pgbench_clients: numbers of clients to try; the best is taken.
        pgbench_seconds: of one run of pgbench.
        offered: payments a second at which the latency is taken.
        faststream_events: in the outbox of contender (d).
        many_merchants: beside one merchant for all.
        grown: what the grown database holds.
        few_seconds: how long each of few payments a second are offered.
        idle_seconds: how long a service with nothing to do is looked at.
        block_seconds: of one block of whole purchases, or of the payments beside them.
        hanging_seconds: of one block beside a channel that hangs; 0: not measured.
        backlog_seconds: how long a whole service works the grown backlog off.
        listed: pay orders of the list whose pages are timed.
        list_pages: pages of each filter.
        before: also measure contender (b), which has no ratio of its own.
    """

    name: str
    budget_seconds: float
    rounds_max: int
    payments: int
    http_orders: int
    http_seconds: float
    connections: int
    workers: tuple[int, ...]
    pgbench_scale: int
    pgbench_clients: tuple[int, ...]
    pgbench_seconds: int
    offered: float
    faststream_events: int
    many_merchants: int
    grown: Grown
    few_seconds: float
    idle_seconds: float
    block_seconds: float
    hanging_seconds: float
    backlog_seconds: float
    listed: int
    list_pages: int
    before: bool


FULL = Plan(
    name="full",
    budget_seconds=500,
    rounds_max=7,
    payments=40_000,
    http_orders=60_000,
    http_seconds=5.0,
    connections=128,
    workers=(1, 2),
    pgbench_scale=30,
    pgbench_clients=(2, 4, 8, 16),
    pgbench_seconds=5,
    offered=1_000,
    faststream_events=5_000,
    many_merchants=10_000,
    grown=Grown(5_000_000, 1_000_000),
    few_seconds=8.0,
    idle_seconds=60.0,
    block_seconds=3.0,
    hanging_seconds=4.0,
    backlog_seconds=15.0,
    listed=5_000_000,
    list_pages=200,
    before=True,
)
QUICK = Plan(
    name="quick",
    budget_seconds=1,
    rounds_max=1,
    payments=12_000,
    http_orders=40_000,
    http_seconds=3.0,
    connections=128,
    workers=(2,),
    pgbench_scale=10,
    pgbench_clients=(8,),
    pgbench_seconds=1,
    offered=1_000,
    faststream_events=600,
    many_merchants=4_000,
    grown=Grown(40_000, 16_000),
    few_seconds=3.0,
    idle_seconds=20.0,
    block_seconds=1.5,
    hanging_seconds=0.0,
    backlog_seconds=1.0,
    listed=40_000,
    list_pages=10,
    before=False,
)
