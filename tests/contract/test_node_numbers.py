"""Two living processes never make ids with the same node number."""

from collections.abc import Awaitable, Callable

import pytest
from serving import fresh_databases, in_process
from support import Databases, connected

from paybell.clock import SystemClock
from paybell.errors import Unavailable
from paybell.ids import NODES
from paybell.storage import Database
from paybell.storage.node_numbers import LEASE_SECONDS, NodeNumber
from paybell.testing import FrozenClock

pytestmark = pytest.mark.slow


def node_of(number: NodeNumber) -> int:
    return number.ids.next() >> 12 & NODES - 1


@pytest.fixture
def execute(pay_url: str) -> Callable[..., Awaitable[None]]:
    """Return a way to change rows from outside."""

    async def run(statement: str, *arguments: object) -> None:
        async with connected(pay_url) as rows:
            await rows.execute(statement, *arguments)

    return run


async def test_a_crash_loop_never_gets_the_number_of_a_living_process(
    pay_database: Database, execute: Callable[..., Awaitable[None]]
) -> None:
    """Though it starts more often than there are numbers, and gives none back."""
    living = await NodeNumber.take(pay_database, SystemClock())
    taken = set()
    for start in range(NODES + 100):
        if start % 500 == 0:
            await execute("UPDATE node_leases SET held_until = '-infinity' WHERE node <> $1", node_of(living))
        taken.add(node_of(await NodeNumber.take(pay_database, SystemClock())))

    assert taken == set(range(NODES)) - {node_of(living)}


async def test_when_all_numbers_are_held_nobody_gets_one(
    pay_database: Database, execute: Callable[..., Awaitable[None]]
) -> None:
    await execute(
        "INSERT INTO node_leases "
        "SELECT node, 1, now() + interval '1 hour' FROM generate_series(0, 1023) AS node"
    )
    with pytest.raises(Unavailable, match="All 1024 numbers"):
        await NodeNumber.take(pay_database, SystemClock())


async def test_a_process_that_cannot_renew_stops_before_another_may_have_its_number(
    pay_database: Database, execute: Callable[..., Awaitable[None]]
) -> None:
    """As after an outage of the database, or a long sleep of the machine."""
    clock = FrozenClock()
    cut_off = await NodeNumber.take(pay_database, clock)
    lost = node_of(cut_off)
    clock.advance(LEASE_SECONDS - 60)
    with pytest.raises(Unavailable):
        cut_off.ids.next()

    await execute("UPDATE node_leases SET held_until = '-infinity' WHERE node = $1", lost)
    await execute(f"ALTER SEQUENCE node_numbers RESTART WITH {lost}")
    heir = await NodeNumber.take(pay_database, clock)
    assert node_of(heir) == lost

    await cut_off.renew()
    assert node_of(cut_off) != lost


async def test_a_number_is_kept_while_it_is_renewed(pay_database: Database) -> None:
    clock = FrozenClock()
    number = await NodeNumber.take(pay_database, clock)
    before = node_of(number)
    for _ in range(10):
        clock.advance(LEASE_SECONDS - 61)
        await number.renew()
        assert node_of(number) == before


async def test_a_service_renews_the_numbers_of_both_databases(postgres: Databases) -> None:
    async with in_process(await fresh_databases(postgres)) as service:
        loops = {loop.name for loop in service.served.runtime.parts.loops}

        assert {"pay-node-number", "trade-node-number"} <= loops
