"""What a batch costs however small it is: how often somebody asks PostgreSQL and waits for the answer."""

import asyncio

from faults import cutting_proxy
from shop import shop
from support import PASSWORD, PaySide, codes, connected, payment

from paybell.clock import SystemClock
from paybell.messaging.broker import Delivery
from paybell.storage import Database, Query

# Remembered as applied, and not: what no statement of ours leaves behind.
FORGOTTEN = Query("INSERT INTO inbox VALUES ('trade.pay.success.queue', 'pay.success:' || $1, now())")
# The plans of this session's statements that take arrays and ran often.
PLANS = Query(
    "SELECT statement, custom_plans FROM pg_prepared_statements "
    "WHERE statement LIKE '%[]%' AND custom_plans + generic_plans > 10"
)
WRONG = "000000"


async def test_a_batch_of_payments_takes_four_turns(pay_database: Database, pay_url: str) -> None:
    """BEGIN, what is locked, what is written, COMMIT."""
    truth = PaySide(pay_database)
    for user in ("7", "8", "9"):
        await truth.fund(user, 1_000)
    orders = [await truth.order(number, str(7 + number % 3), 10) for number in range(5001, 5013)]
    async with (
        cutting_proxy(pay_url) as proxy,
        Database.open(proxy.url, SystemClock(), connections=1) as database,
    ):
        side = PaySide(database)

        async def turns(*passwords: str) -> tuple[list[str], int]:
            batch = [payment((one := orders.pop()).id, one.payer_id, password) for password in passwords]
            before = proxy.turns
            return codes(await side.pay.settle_batch(batch)), proxy.turns - before

        await turns(PASSWORD, WRONG)  # a session's first statements are prepared
        assert await turns(PASSWORD, PASSWORD, PASSWORD) == (["paid"] * 3, 5)  # one tries no longer in vain

        assert await turns(PASSWORD) == (["paid"], 4)
        assert await turns(PASSWORD, PASSWORD, PASSWORD) == (["paid"] * 3, 4)
        assert await turns(WRONG) == (["wrong_pay_password"], 4)


async def test_batches_that_want_the_same_rows_in_other_orders_never_wait_for_each_other(
    pay_database: Database, pay_url: str
) -> None:
    """What another batch holds is tried again; no two can stand in each other's way for ever."""
    sides = [PaySide(pay_database) for _ in range(4)]
    for user in range(10, 20):
        await sides[0].fund(str(user), 1_000)
    orders = [await sides[0].order(number, str(10 + number % 10), 10) for number in range(5001, 5041)]

    for start in range(0, 40, 10):
        some = orders[start : start + 10]
        batches = [some if nth % 2 else list(reversed(some)) for nth in range(4)]
        answers = await asyncio.gather(
            *(
                side.pay.settle_batch([payment(one.id, one.payer_id) for one in batch])
                for side, batch in zip(sides, batches, strict=True)
            )
        )
        assert {code for batch in answers for code in codes(batch)} <= {"paid", "busy"}
        await asyncio.gather(*(sides[0].attempt(one.id, one.payer_id) for one in some))

    assert [await sides[0].balance(str(user)) for user in range(10, 20)] == [960] * 10
    async with connected(pay_url) as rows:
        assert await rows.fetchval("SELECT sum(deadlocks) FROM pg_stat_database") == 0


async def test_a_batch_of_events_takes_two_turns_and_an_odd_one_the_long_way(
    pay_database: Database, trade_url: str
) -> None:
    """What the orders come to, for the signatures; and one statement that is a transaction by itself."""
    async with (
        cutting_proxy(trade_url) as proxy,
        Database.open(proxy.url, SystemClock(), connections=1) as trade,
        shop(pay_database, trade) as both,
    ):
        await both.pay.fund("7", 1_000)
        numbers = range(5001, 5010)
        for number in numbers:
            order = await both.order(number, "7", 10)
            assert order.pay_order_id
            await both.pay.attempt(order.pay_order_id, "7")
        told = await both.told()

        async def turns(*deliveries: Delivery) -> int:
            before = proxy.turns
            await both.runner.apply(deliveries)
            return proxy.turns - before

        await turns(told[0])  # a session's first statements are prepared
        await turns(*told[:2])

        assert await turns(told[2]) == 2
        assert await turns(*told[3:6]) == 2
        # One of them is known: the inbox, and the listener's function, in a transaction of several turns.
        assert await turns(*told[5:7]) == 6

        await both.database.fetch(FORGOTTEN, told[7].body.decode())
        await turns(*told[7:])
        statuses = await both.statuses()
        assert [statuses.pop(int(told[7].body)), *set(statuses.values())] == ["UNPAID", "PAID"]


async def test_statements_that_find_rows_by_key_are_planned_once(pay_url: str, trade_url: str) -> None:
    """Not anew for each number of rows: PostgreSQL tries five times, then keeps the plan for any."""
    async with (
        Database.open(pay_url, SystemClock(), connections=1) as pay,
        Database.open(trade_url, SystemClock(), connections=1) as trade,
        shop(pay, trade) as both,
    ):
        await both.pay.fund("7", 1_000)
        for number in range(5001, 5021):
            order = await both.order(number, "7", 10)
            assert order.pay_order_id
            await both.pay.attempt(order.pay_order_id, "7")
        for one in await both.told():
            await both.runner.apply([one])
        plans = [*await pay.fetch(PLANS), *await trade.fetch(PLANS)]

    assert len(plans) >= 7
    assert [row["statement"] for row in plans if row["custom_plans"] > 5] == []
