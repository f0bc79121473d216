"""What demo and replay share: much work at once, progress, waiting for the order service."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import TypeVar

from paybell_client import PaybellClient
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from paybell.cli.output import err
from paybell.clock import Clock
from paybell.ids import IDS_MAX

Item = TypeVar("Item")

# Trade is notified of a payment within milliseconds, and of one that failed again after 5 s; when nothing
# at all has changed for this long, waiting longer will not help.
STALL_SECONDS = 30.0
_POLL_SECONDS = 0.05
# Reads of 200 orders at once: enough to keep one server process busy.
_READERS = 4


async def for_each(
    items: Iterable[Item], work: Callable[[Item], Awaitable[None]], *, concurrency: int
) -> None:
    """Do something with every item, ``concurrency`` at a time; the items are never all in memory.

    Raises:
        Exception: the first one of the work; what else was going on is cancelled.
    """
    shared = iter(items)

    async def worker() -> None:
        for item in shared:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(worker())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors


def chunks(items: Iterable[Item], size: int = IDS_MAX) -> Iterator[list[Item]]:
    """Cut into lists of at most ``size``."""
    shared = iter(items)
    while chunk := list(islice(shared, size)):
        yield chunk


def progress(*, quiet: bool) -> Progress:
    """Return progress bars for a person at a terminal; for anybody else they stay silent."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err, disable=quiet or not err.is_terminal)


async def wait_for_statuses(
    shop: PaybellClient,
    expected: Mapping[int, Collection[str]],
    clock: Clock,
    arrived: Callable[[int], None],
) -> set[int]:
    """Wait until the order service shows these statuses by order id.

    Args:
        shop: who may read orders.
        expected: order id to the statuses that will do.
        clock: measures the wait, which ends `STALL_SECONDS` after the last order arrived.
        arrived: is called with how many more orders have got there.

    Returns:
        The ids of those that have not.
    """
    waiting = dict(expected)
    deadline = clock.monotonic() + STALL_SECONDS

    async def look(order_ids: list[int]) -> None:
        nonlocal deadline
        there = [
            number
            for order in await shop.read_orders(order_ids)
            if order.status in waiting.get(number := int(order.id), ())
        ]
        for number in there:
            del waiting[number]
        if there:
            deadline = clock.monotonic() + STALL_SECONDS
            arrived(len(there))

    while waiting:
        await for_each(chunks(list(waiting)), look, concurrency=_READERS)
        if clock.monotonic() > deadline:
            break
        if waiting:
            await clock.sleep(_POLL_SECONDS)
    return set(waiting)
