"""A reconciliation as operators watch it."""

from collections.abc import AsyncGenerator

from paybell.ids import ID_MAX
from paybell.operations.repairs import watch_repair
from paybell.reconciliation.comparison import Compared
from paybell.reconciliation.reconciler import Progress
from paybell.testing import FrozenClock


async def watched(seconds: float, *positions: int) -> list[tuple[str, object]]:
    """Watch a run that comes to these positions, one in ten seconds; return each event with its ``next``."""
    clock, progress = FrozenClock(), Progress(Compared())

    async def steps() -> AsyncGenerator[Progress, None]:
        for position in positions:
            clock.advance(10)
            progress.compared.position = position
            yield progress

    events = [event async for event in watch_repair(steps(), clock, seconds)]
    return [(name, found.get("next") if isinstance(found, dict) else None) for name, found in events]


async def test_a_run_over_large_books_says_where_the_next_goes_on() -> None:
    assert await watched(20, 5, 5, 5, 9, 12) == [*4 * [("progress", None)], ("continue", "9")]


async def test_a_run_that_ends_in_time_is_done() -> None:
    assert await watched(60, 5, 9, ID_MAX, ID_MAX) == [*4 * [("progress", None)], ("done", None)]


async def test_a_run_that_has_compared_all_pay_orders_comes_to_its_end() -> None:
    assert await watched(0, ID_MAX, ID_MAX) == [*2 * [("progress", None)], ("done", None)]
