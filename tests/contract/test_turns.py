"""What a batch costs however small it is: how often somebody asks PostgreSQL and waits for the answer."""

import asyncio

from faults import cutting_proxy
from support import PASSWORD, PaySide, codes, connected, payment

from paybell.clock import SystemClock
from paybell.storage import Database

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
