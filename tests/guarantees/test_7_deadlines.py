"""Promise 7, deadlines: an overdue order is closed once, by whoever comes first, and everybody hears."""

import asyncio

from support import PaySide, codes, connected

from paybell.pay.overdue import OverdueCloser
from paybell.pay.status import PayStatus
from paybell.storage import Database
from paybell.testing import FrozenClock


async def test_an_overdue_order_is_closed_and_announced(pay_url: str) -> None:
    """The paid one next to it is left alone, and its deadline is gone too."""
    clock = FrozenClock()
    async with Database.open(pay_url, clock) as database:
        side = PaySide(database)
        await side.fund("7", 1_000)
        paid, overdue = (
            await side.order(1, "7", 100, ttl_seconds=60),
            await side.order(2, "7", 100, ttl_seconds=60),
        )
        await side.attempt(paid.id, "7")
        closer = OverdueCloser(database, side.outbox)

        assert await closer.run_once() == 0
        clock.advance(60)
        assert await closer.run_once() == 2
        assert await closer.run_once() == 0

    async with connected(pay_url) as rows:
        status = dict(await rows.fetch("SELECT id, status FROM pay_orders"))
        events = await rows.fetch("SELECT event_id, type FROM outbox ORDER BY id")
    assert status == {paid.id: PayStatus.TRADE_SUCCESS, overdue.id: PayStatus.TRADE_CLOSED}
    assert [tuple(event) for event in events] == [
        (f"{paid.id}-2", "pay.success"),
        (f"{overdue.id}-2", "pay.closed"),
    ]


async def test_several_closers_share_thousands_of_deadlines(pay_url: str) -> None:
    """Each order is closed by exactly one of them."""
    clock = FrozenClock()
    async with Database.open(pay_url, clock, connections=16) as database:
        side = PaySide(database)
        await asyncio.gather(*(side.order(number, "7", 100, ttl_seconds=5) for number in range(1, 2_001)))
        clock.advance(5)
        closers = [OverdueCloser(database, side.outbox) for _ in range(3)]

        async def drain(closer: OverdueCloser) -> int:
            taken = 0
            while found := await closer.run_once():
                taken += found
            return taken

        assert sum(await asyncio.gather(*map(drain, closers))) == 2_000

    async with connected(pay_url) as rows:
        assert await rows.fetchval("SELECT count(*) FROM pay_orders WHERE status = 2") == 2_000
        assert await rows.fetchval("SELECT count(DISTINCT event_id) FROM outbox") == 2_000
        assert await rows.fetchval("SELECT count(*) FROM outbox") == 2_000


async def test_paying_while_the_closer_runs_leaves_one_outcome(pay_url: str) -> None:
    """At the deadline to the microsecond the order is closed; the payment never moves money then."""
    clock = FrozenClock()
    async with Database.open(pay_url, clock, connections=16) as database:
        side = PaySide(database, batch_max=1)
        await side.fund("7", 100_000)
        orders = [await side.order(number, "7", 1, ttl_seconds=60) for number in range(1, 41)]
        clock.advance(59.999)
        closer = OverdueCloser(database, side.outbox)

        async def turn_of_time() -> None:
            await asyncio.sleep(0)
            clock.advance(0.001)
            while await closer.run_once():
                pass

        *answers, _ = await asyncio.gather(*(side.attempt(order.id, "7") for order in orders), turn_of_time())

    paid = codes(answers[:]).count("paid")
    async with connected(pay_url) as rows:
        by_status = dict(await rows.fetch("SELECT status, count(*) FROM pay_orders GROUP BY status"))
        assert by_status.get(3, 0) == paid
        assert await rows.fetchval("SELECT count(*) FROM transfers WHERE kind = 'payment'") == paid
        while_open = await rows.fetchval("SELECT count(*) FROM pay_orders WHERE status IN (0, 1)")
    assert while_open == 0
    assert set(codes(answers)) <= {"paid", "pay_order_closed"}
