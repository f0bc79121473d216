"""One request that the database refuses, or whose rows somebody holds, does not fail or stall the others.

What is refused here is text that PostgreSQL cannot hold, past every check of the edge.
"""

import asyncio
from collections.abc import Awaitable, Sequence

import pytest
from shop import shop
from support import PEPPER, PaySide, codes, connected, payment, seeded

from paybell.clock import SystemClock
from paybell.messaging.outbox import Outbox
from paybell.pay.model import Application
from paybell.pay.overdue import OverdueCloser
from paybell.storage import Database, Query
from paybell.testing import FrozenClock
from paybell.tokens import Principal
from paybell.trade import store
from paybell.trade.model import Purchase
from paybell.wallet.pay_password_service import PayPasswordService

pytestmark = pytest.mark.slow

BAD = 5
SUBJECTS = ["\x00" if number == BAD else "茶" for number in range(40)]


async def failed(work: Sequence[Awaitable[object]]) -> list[int]:
    """Do everything at once; return the positions of what failed."""
    answers = await asyncio.gather(*work, return_exceptions=True)
    return [number for number, answer in enumerate(answers) if isinstance(answer, BaseException)]


async def test_one_bad_application_for_a_pay_order_fails_alone(pay_database: Database) -> None:
    pay = PaySide(pay_database).pay
    applications = [
        Application("1", number, "7", 100, "CNY", subject, 600) for number, subject in enumerate(SUBJECTS, 1)
    ]

    assert await failed([pay.apply(application) for application in applications]) == [BAD]


async def test_one_bad_order_fails_alone(pay_database: Database, trade_database: Database) -> None:
    async with shop(pay_database, trade_database) as here:
        purchases = [Purchase(number, "7", 100, "CNY", subject) for number, subject in enumerate(SUBJECTS, 1)]

        assert await failed([here.trade.create(purchase, "") for purchase in purchases]) == [BAD]


HELD = {
    "a wallet": "SELECT FROM accounts WHERE owner_id = '7' FOR UPDATE",
    "a pay password": "SELECT FROM wallets WHERE account_id = "
    "(SELECT id FROM accounts WHERE owner_id = '7' AND kind = 'wallet') FOR UPDATE",
    "a pay order": "SELECT FROM pay_orders WHERE payer_id = '7' FOR UPDATE",
}


@pytest.mark.parametrize("statement", HELD.values(), ids=HELD)
async def test_a_row_that_somebody_holds_stalls_only_the_payments_that_need_it(
    pay_database: Database, pay_url: str, statement: str
) -> None:
    """In one batch with it, and after it; told to come back, it is paid when the row is free again."""
    side = PaySide(pay_database)
    for user in ("7", "8"):
        await side.fund(user, 1_000)
    held = await side.order(1, "7", 100)
    others = [await side.order(number, "8", 1) for number in range(2, 12)]

    async with connected(pay_url) as stranger, stranger.transaction():
        await stranger.execute(statement)
        stalled = asyncio.create_task(side.attempt(held.id, "7"))
        for order in others:  # one by one: each shares a batch with it now and then
            assert codes([await side.attempt(order.id, "8")]) == ["paid"]
        assert not stalled.done()
        batch = [payment(held.id, "7"), payment(others[0].id, "8"), payment(held.id, "8")]
        expected = ["busy", "paid", "busy" if "order" in statement else "not_the_payer"]
        assert codes(await side.pay.settle_batch(batch)) == expected
        assert codes([await stalled]) == ["busy"]
        waits = asyncio.create_task(side.attempt(held.id, "7"))
        await asyncio.sleep(0)
    assert codes([await waits]) == ["paid"]
    assert await side.balance("7") == 900


async def test_waiting_for_a_row_that_somebody_holds_takes_no_session(pay_url: str) -> None:
    """Top-ups, refunds, closings and changed passwords of one wallet, many more than there are sessions."""
    async with (
        Database.open(pay_url, SystemClock(), connections=2) as database,
        connected(pay_url) as stranger,
    ):
        side, passwords = PaySide(database), PayPasswordService(database, PEPPER)
        for user in ("7", "8"):
            await side.fund(user, 1_000)
        paid, open_one, other = [
            await side.order(number, user, 10) for number, user in ((1, "7"), (2, "7"), (3, "8"))
        ]
        await side.attempt(paid.id, "7")

        async with stranger.transaction():
            await stranger.execute("SELECT FROM accounts WHERE owner_id = '7' FOR UPDATE")
            await stranger.execute("SELECT FROM pay_orders WHERE id = $1 FOR UPDATE", open_one.id)
            merchant = Principal("shop", frozenset(), "1")
            stalled = asyncio.gather(
                *(side.top_up("7", 1, str(number)) for number in range(10)),
                *(side.refund(paid.id, 1, str(number)) for number in range(10)),
                *(side.pay.close(open_one.id, merchant, "") for _ in range(10)),
                *(passwords.unlock("7", "carol") for _ in range(10)),
                return_exceptions=True,
            )
            await asyncio.sleep(0)
            assert codes([await side.attempt(other.id, "8")]) == ["paid"]
            assert not stalled.done()
            assert {getattr(outcome, "code", "done") for outcome in await stalled} == {"busy"}


async def test_linking_orders_and_marking_them_paid_never_deadlock(
    pay_database: Database, trade_database: Database
) -> None:
    """They name the same orders in other orders, again and again."""
    async with shop(pay_database, trade_database) as here:
        numbers = list(range(1, 201))
        await asyncio.gather(*(here.trade.create(Purchase(n, "7", 100, "CNY", "茶"), "") for n in numbers))

    async def link(chosen: Sequence[int]) -> None:
        await store.link(trade_database, [(number, number) for number in chosen])

    async def mark(chosen: Sequence[int]) -> None:
        async with trade_database.transaction() as tx:
            await store.mark_paid(tx, chosen)

    again = Query("UPDATE orders SET pay_order_id = NULL, status = 'UNPAID', paid_at = NULL")
    rng = seeded()
    for _ in range(40):
        await trade_database.fetch(again)
        await asyncio.gather(*(act(rng.sample(numbers, len(numbers))) for act in (link, mark, link, mark)))


async def test_a_pay_order_that_somebody_holds_keeps_no_other_from_closing(pay_url: str) -> None:
    """It is closed when its row is free again."""
    clock = FrozenClock()
    async with Database.open(pay_url, clock) as database, connected(pay_url) as stranger:
        side, closer = PaySide(database), OverdueCloser(database, Outbox(database))
        await side.fund("7", 1_000)
        held, *others = [await side.order(number, "7", 10, ttl_seconds=60) for number in range(1, 11)]
        clock.advance(61)

        async with stranger.transaction():
            await stranger.execute("SELECT FROM pay_orders WHERE id = $1 FOR UPDATE", held.id)
            assert await closer.run_once() == len(others)
        assert await closer.run_once() == 1
