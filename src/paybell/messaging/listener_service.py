"""A whole process of listeners: deliveries, failures that are due again, and the removal of what is old."""

import asyncio
from typing import Any

from paybell.clock import Clock
from paybell.messaging.broker import Broker
from paybell.messaging.failure_rows import FAILURES_DUE
from paybell.messaging.listener import Listener
from paybell.messaging.listener_runner import ListenerRunner
from paybell.messaging.signatures import EventKeys
from paybell.messaging.tables import listener_rules
from paybell.storage import Database, DueWatch
from paybell.storage.retention import CLEAN_IDLE_SECONDS, Cleaner
from paybell.telemetry.observers import ListenerObserver, Observer
from paybell.worker import Loop, Task, run_loop, run_task


async def listen(
    *listeners: Listener[Any],
    broker: Broker,
    database: Database,
    clock: Clock,
    stop: asyncio.Event | None = None,
    keys: EventKeys | None = None,
    observer: ListenerObserver | None = None,
    batch_max: int = 500,
    inbox_days: int = 90,
    dead_letter_days: int = 60,
) -> None:
    """Run listeners until ``stop`` is set; any number of processes may.

    Args:
        listeners: made by `listener`.
        broker: where deliveries come from; closed at the end.
        database: with the tables of ``paybell migrate --listeners``, and those the listeners work on.
        clock: what time it is.
        stop: when set, what has begun is finished.
        keys: verify events; those of the environment when none are given.
        observer: is called after each batch.
        batch_max: most deliveries applied in one transaction.
        inbox_days: how long applied events are remembered; longer than anything may come again.
        dead_letter_days: how long dead letters are kept; not longer than that.

    Raises:
        Misconfigured: events are to be verified, and there is no key.
    """
    stop, observer = stop or asyncio.Event(), observer or Observer()
    runners = [
        ListenerRunner(one, broker, database, clock, observer, batch_max=batch_max, keys=keys)
        for one in listeners
    ]
    rules = listener_rules(inbox_days=inbox_days, dead_letter_days=dead_letter_days)
    due = DueWatch(database)
    loops = [
        due.loop(f"{runner.queue}-retries", runner.retry_once, FAILURES_DUE, runner.name)
        for runner in runners
    ]
    loops.append(due.looks())
    loops.append(Loop("cleaner", Cleaner(database, rules).run_once, idle_seconds=CLEAN_IDLE_SECONDS))
    try:
        await asyncio.gather(
            *(run_task(Task(runner.queue, runner.run), stop, clock) for runner in runners),
            *(run_loop(loop, stop, clock) for loop in loops),
        )
    finally:
        await broker.close()
