"""Loops sleep until something is due: what wakes them, and whom it leaves alone."""

import asyncio

from paybell.clock import SystemClock
from paybell.messaging.failure_rows import FAILURES_DUE
from paybell.reconciliation.pay_books import TURN_DUE
from paybell.reconciliation.periodic import RECONCILE
from paybell.storage import Database, DueWatch
from paybell.storage.due import UNASKED_SECONDS
from paybell.storage.queries import Query, in_one_row
from paybell.trade.store import CHECKS_DUE
from paybell.worker import run_loop

_FAIL = """
INSERT INTO failed_deliveries (listener, event_id, state, reason, error, attempts, exchange, routing_key,
                               content_type, headers, body, first_failed_at, last_failed_at, due_at)
VALUES ('{listener}', '1', 'retry', 'failed', '', 1, '', '', '', '{{}}', '', now(), now(), {due})
"""


def woken(database: Database, *listeners: str) -> tuple[DueWatch, dict[str, asyncio.Event]]:
    """Return a watch over the failures of these listeners, and what it sets."""
    watch, wakes = DueWatch(database), {listener: asyncio.Event() for listener in listeners}
    for listener, wake in wakes.items():
        watch.loop(listener, nothing, FAILURES_DUE, listener, wake=wake)
    return watch, wakes


async def nothing() -> int:
    """Find nothing to do."""
    return 0


async def test_what_is_not_due_wakes_nobody_and_what_is_wakes_whose_it_is(trade_database: Database) -> None:
    watch, wakes = woken(trade_database, "one", "other")
    orders = asyncio.Event()
    watch.loop("checks", nothing, CHECKS_DUE, wake=orders)

    await trade_database.fetch(Query(_FAIL.format(listener="one", due="now() + interval '1 hour'")))
    await watch.look()
    assert not any(wake.is_set() for wake in (*wakes.values(), orders))

    await trade_database.fetch(Query(_FAIL.format(listener="other", due="now() - interval '1 second'")))
    await watch.look()
    assert [wakes["one"].is_set(), wakes["other"].is_set(), orders.is_set()] == [False, True, False]


async def test_a_loop_that_has_long_found_nothing_works_as_soon_as_something_is_due(
    trade_database: Database,
) -> None:
    watch, steps, slept = DueWatch(trade_database), list[int](), asyncio.Event()

    class Clock(SystemClock):
        """Says when the loop sleeps for as long as it may."""

        async def wait(self, event: asyncio.Event, seconds: float) -> None:
            if seconds == UNASKED_SECONDS:
                slept.set()
                await event.wait()

    async def step() -> int:
        steps.append(len(steps))
        return 0

    stop = asyncio.Event()
    running = asyncio.ensure_future(run_loop(watch.loop("one", step, FAILURES_DUE, "one"), stop, Clock()))
    try:
        await asyncio.wait_for(slept.wait(), 10)
        before = len(steps)
        await watch.look()
        await asyncio.sleep(0)
        assert len(steps) == before

        slept.clear()
        await trade_database.fetch(Query(_FAIL.format(listener="one", due="now()")))
        await watch.look()
        await asyncio.wait_for(slept.wait(), 10)
        assert len(steps) == before + 1
    finally:
        stop.set()
        await running


async def test_who_waits_for_nothing_that_has_a_time_is_woken_too(pay_database: Database) -> None:
    """A process may have one loop only, which asks for a row and not for its time."""
    watch, wake = DueWatch(pay_database), asyncio.Event()
    watch.loop("reconciler", nothing, TURN_DUE, RECONCILE, wake=wake)

    await watch.look()
    assert wake.is_set()


def test_texts_of_queries_do_not_meet() -> None:
    both, texts = in_one_row(
        [(Query("SELECT $2 = 'a';"), "a"), (Query("SELECT 1 = 1"), ""), (Query("SELECT $2 = 'b'"), "b")]
    )

    assert both == "SELECT $1::timestamptz, (SELECT $2 = 'a'), (SELECT 1 = 1), (SELECT $3 = 'b')"
    assert texts == ["a", "b"]
