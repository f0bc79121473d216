"""Promise 7, deadlines: an overdue order is closed once, by whoever comes first, and everybody hears."""

import asyncio

from support import PaySide, codes, connected, until

from paybell.clock import SystemClock
from paybell.pay.overdue import OverdueCloser
from paybell.pay.status import PayStatus
from paybell.storage import Database
from paybell.testing import FrozenClock
from paybell.worker import Loop, run_loop

RACES = 1_000


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
        side = PaySide(database, batch_max=8)
        await side.fund("7", 100_000)
        numbers = range(1, RACES + 1)
        orders = await asyncio.gather(*(side.order(number, "7", 1, ttl_seconds=60) for number in numbers))
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


async def test_ten_thousand_that_fall_due_at_once_are_closed_without_delay(pay_url: str) -> None:
    """Two workers, as they run in the service; how long it took is for the test's reader, not its judge."""
    clock = SystemClock()
    async with Database.open(pay_url, clock, connections=16) as database:
        side = PaySide(database)
        numbers = range(1, 10_001)
        for part in numbers[:5_000], numbers[5_000:]:
            await asyncio.gather(*(side.order(number, "7", 1) for number in part))
        async with connected(pay_url) as rows:
            await rows.execute(
                "UPDATE pay_orders SET created_at = now() - interval '1 hour', expires_at = now()"
            )
            await rows.execute("UPDATE pay_order_deadlines SET due_at = now()")
        stop = asyncio.Event()
        closing = [
            asyncio.create_task(
                run_loop(Loop("closer", OverdueCloser(database, side.outbox).run_once), stop, clock)
            )
            for _ in range(2)
        ]
        async with connected(pay_url) as rows:

            async def all_closed() -> bool:
                return not await rows.fetchval("SELECT count(*) FROM pay_orders WHERE status <> 2")

            await until(all_closed, seconds=30)
            stop.set()
            await asyncio.gather(*closing)
            lag = await rows.fetchval(
                "SELECT percentile_disc(0.99) WITHIN GROUP "
                "(ORDER BY extract(epoch FROM closed_at - expires_at)) FROM pay_orders"
            )
            assert await rows.fetchval("SELECT count(DISTINCT event_id) FROM outbox") == len(numbers)
    print(f"closed 10,000 overdue orders, lag p99 {lag:.2f} s")  # noqa: T201
