"""Promise 7: what was paid can be given back, never more than once and never more than it was."""

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import Any

import asyncpg
import pytest
import structlog
from elsewhere import BUYER, Windows, opened_shop
from relaying import pay
from shop import Shop, shop, signed
from support import PASSWORD, PaySide, codes, connected, seeded, until, waiting_for_locks

from paybell.errors import Busy, PaybellError
from paybell.pay.model import PayOrder
from paybell.storage import Database, Query
from paybell.testing import FrozenClock
from paybell.trade.errors import PayServiceUnavailable
from paybell.trade.model import OrderStatus
from paybell.verification.ledger_check import trial_balance
from paybell.wallet.ledger import BalancePoster

PRICE = 100
CANCEL = Query("UPDATE orders SET status = 'CANCELLED', cancelled_at = now() WHERE id = $1 RETURNING id")


async def paid(side: PaySide, number: int = 5001) -> PayOrder:
    """Pay one order of user 7, who has 1,000."""
    await side.fund("7", 1_000)
    (order,) = await pay(side, number)
    return order


async def test_refunds_add_up_to_what_was_paid_and_not_above(pay_database: Database, pay_url: str) -> None:
    """In pieces, each with its transfer and its event; the one too much changes nothing."""
    side = PaySide(pay_database)
    order = await paid(side)

    answers = [await side.refund(order.id, amount, f"r-{amount}") for amount in (30, 69, 2, 1, 5)]

    assert codes(answers) == ["paid", "paid", "refund_exceeds_payment", "paid", "refund_exceeds_payment"]
    assert [answer["refundedAmount"] for answer in answers if isinstance(answer, dict)] == [30, 99, 100]
    assert await side.balance("7") == 1_000
    assert await trial_balance(pay_database)
    async with connected(pay_url) as rows:
        events = await rows.fetch("SELECT event_id, type FROM outbox ORDER BY id")
    assert [tuple(event) for event in events] == [
        (f"{order.id}-2", "pay.success"),
        *((f"{order.id}-{version}", "pay.refunded") for version in (3, 4, 5)),
    ]


async def test_a_hundred_refunds_at_once_give_back_what_was_paid(pay_database: Database) -> None:
    """Of 100 that ask for a fifth each, five get it; paying and folding go on meanwhile."""
    side = PaySide(pay_database)
    order = await paid(side)
    poster = BalancePoster(pay_database)

    async def ask(number: int) -> PaybellError | dict[str, Any]:
        while isinstance(answer := await side.refund(order.id, 20, f"r-{number}"), Busy):
            pass  # others held the order for longer than one waits; nothing was changed
        return answer

    answers, *_ = await asyncio.gather(
        asyncio.gather(*map(ask, range(100))),
        pay(side, *range(1, 6)),
        *(poster.run_once() for _ in range(10)),
    )

    assert codes(answers).count("paid") == 5
    assert set(codes(answers)) == {"paid", "refund_exceeds_payment"}
    assert await side.balance("7") == 1_000 - 5 * PRICE
    assert await trial_balance(pay_database)


async def test_a_refund_that_is_asked_for_again_is_the_same_one(pay_database: Database, pay_url: str) -> None:
    """At once, later, and after the answer of its key was removed: money goes back once."""
    side = PaySide(pay_database)
    order = await paid(side)

    at_once = await asyncio.gather(*(side.refund(order.id, 30) for _ in range(10)))
    later = await side.refund(order.id, 30)
    other = await side.refund(order.id, 31)
    async with connected(pay_url) as rows:
        await rows.execute("DELETE FROM idempotency_keys")
    forgotten = await side.refund(order.id, 30)

    assert set(codes(at_once)) <= {"paid", "idempotency_key_in_use"}
    assert {answer["refundId"] for answer in at_once if isinstance(answer, dict)} == {later["refundId"]}  # type: ignore[index]
    assert codes([other, forgotten]) == ["idempotency_key_reused"] * 2
    assert await side.balance("7") == 1_000 - PRICE + 30


async def test_nothing_is_given_back_that_the_merchant_does_not_hold(
    pay_database: Database, pay_url: str
) -> None:
    """What others were given back is gone; two that reach for the same rest do not both get it."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000)
    orders = await pay(side, 1, 2)
    async with connected(pay_url) as rows:
        await BalancePoster(pay_database).run_once()
        await rows.execute("UPDATE accounts SET debits = debits + 100 WHERE kind = 'merchant'")  # paid out

    answers = await asyncio.gather(*(side.refund(order.id, PRICE) for order in orders))

    assert sorted(codes(answers)) == ["merchant_insufficient_balance", "paid"]
    assert await side.balance("7") == 1_000 - PRICE


async def test_a_refund_never_blocks_payments_of_the_same_merchant(
    pay_database: Database, pay_url: str
) -> None:
    """It locks the merchant's row, which paying does not touch."""
    side = PaySide(pay_database)
    order = await paid(side)
    async with connected(pay_url) as holding:
        async with holding.transaction():
            await holding.execute("LOCK TABLE refunds IN SHARE MODE")  # the refund stops with what it holds
            refunding = asyncio.ensure_future(side.refund(order.id, PRICE))
            await until(partial(waiting_for_locks, holding, 1))
            await side.fund("8", PRICE)
            another = await side.order(5002, "8", PRICE)
            assert isinstance(await side.attempt(another.id, "8"), PayOrder)
        assert codes([await refunding]) == ["paid"]


@pytest.mark.parametrize("status", ["unpaid", "closed"])
async def test_what_was_not_paid_is_not_given_back(pay_database: Database, status: str) -> None:
    side = PaySide(pay_database)
    await paid(side)
    order = await side.order(5002, "7", PRICE)
    if status == "closed":
        await side.database.fetch(
            Query("UPDATE pay_orders SET status = 2, closed_at = now() WHERE id = $1 RETURNING id"), order.id
        )

    assert codes([await side.refund(order.id, 1), await side.refund(999, 1)]) == [
        "pay_order_not_paid",
        "pay_order_not_found",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        "UPDATE pay_orders SET refunded_amount = 101",
        "UPDATE pay_orders SET refunded_amount = -1",
        "UPDATE pay_orders SET status = 2, succeeded_at = NULL, closed_at = now(), refunded_amount = 1",
        "UPDATE refunds SET amount = 1",
        "DELETE FROM refunds",
        "INSERT INTO refunds SELECT 1, pay_order_id, number, 1, '', now() FROM refunds",
    ],
)
async def test_the_schema_refuses_what_the_program_must_not_do(
    pay_database: Database, pay_url: str, wrong: str
) -> None:
    side = PaySide(pay_database)
    await side.refund((await paid(side)).id, 10)

    async with connected(pay_url) as rows:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await rows.execute(wrong)


# Money for cancelled orders ----------------------------------------------------------------------


async def cancelled_but_paid(both: Shop, *numbers: int) -> None:
    """Have orders paid that the order service has cancelled by itself, as no order service should."""
    await both.pay.fund("7", PRICE * len(numbers))
    for number in numbers:
        order = await both.order(number, "7", PRICE)
        await both.database.fetch(CANCEL, number)
        assert order.pay_order_id is not None
        assert codes([await both.pay.attempt(order.pay_order_id, "7", PASSWORD)]) == ["paid"]


async def owed(both: Shop) -> list[int]:
    """Return the orders whose money is still owed."""
    return [row["order_id"] for row in await both.database.fetch(Query("SELECT order_id FROM owed_refunds"))]


async def test_money_for_a_cancelled_order_goes_back_by_itself_once(
    pay_database: Database, trade_database: Database
) -> None:
    """Whichever message brings it, however often, and however many send it back."""
    async with shop(pay_database, trade_database) as both:
        await cancelled_but_paid(both, 1, 2, 3)
        told = await both.told()
        await both.take(*told, *told)
        assert await owed(both) == [1, 2, 3]

        await asyncio.gather(*(both.sender.run_once() for _ in range(5)))
        await both.take(*told, *await both.told())
        await both.sender.run_once()

        assert await owed(both) == []
        assert await both.pay.balance("7") == 3 * PRICE
        orders = await both.trade.read_many([1, 2, 3])
        assert {(order.status, order.refunded_amount) for order in orders} == {(OrderStatus.CANCELLED, PRICE)}
        assert all(order.paid_at for order in orders)
        assert await trial_balance(pay_database)
        assert await both.kept() == []


async def test_a_debt_waits_while_pay_is_away_or_refuses(
    pay_database: Database, trade_database: Database, pay_url: str
) -> None:
    """It is due again later, and what was given back by hand meanwhile is not given back twice."""
    async with shop(pay_database, trade_database) as both, connected(pay_url) as rows:
        await cancelled_but_paid(both, 1)
        await both.take(*await both.told())
        await BalancePoster(pay_database).run_once()
        await rows.execute("UPDATE accounts SET debits = debits + 100 WHERE kind = 'merchant'")

        assert await both.sender.run_once() == 1  # refused: the merchant has nothing
        assert await both.sender.run_once() == 0
        assert await owed(both) == [1]

        await rows.execute("UPDATE accounts SET debits = debits - 100 WHERE kind = 'merchant'")
        order = (await both.trade.read_many([1]))[0]
        assert order.pay_order_id is not None
        await both.pay.refund(order.pay_order_id, 30, "by-hand")
        await both.database.fetch(Query("UPDATE owed_refunds SET due_at = now() RETURNING order_id"))
        assert await both.sender.run_once() == 1

        assert await owed(both) == []
        assert await both.pay.balance("7") == PRICE


@pytest.mark.parametrize("keeps", [False, True], ids=["gives back", "refuses"])
async def test_a_debt_waits_until_the_channel_has_given_the_money_back(
    pay_database: Database, trade_database: Database, pay_url: str, keeps: bool
) -> None:
    """What is on its way is not there; what its channel refuses for good stays owed, and is said as that."""
    windows = Windows()
    clock = FrozenClock(datetime.now(UTC))
    async with (
        shop(pay_database, trade_database) as both,
        opened_shop(pay_url, [windows], clock=clock, first_id=2_000_000) as channels,
    ):
        order = await both.order(1, BUYER, PRICE)
        await both.database.fetch(CANCEL, 1)
        assert order.pay_order_id is not None
        attempt = await channels.service.open_window(order.pay_order_id, BUYER, "windows", "")
        windows.buyer_pays(attempt)
        await channels.notify(attempt)
        await both.take(*await both.told())

        assert await both.sender.run_once() == 1
        assert await owed(both) == [1]
        windows.keeps = keeps
        await channels.send_back()
        await both.database.fetch(Query("UPDATE owed_refunds SET due_at = now() RETURNING order_id"))
        with structlog.testing.capture_logs() as logs:
            assert await both.sender.run_once() == 1

        assert await owed(both) == [1] * keeps
        assert (await both.trade.read_many([1]))[0].refunded_amount == PRICE * (not keeps)
        errors = [line["event"] for line in logs if line["log_level"] == "error"]
        assert errors == ["owed_refund_failed"] * keeps
        assert await both.sender.run_once() == 0  # not before its wait is over

        if keeps:  # what somebody gives back ends it
            windows.keeps = False
            await channels.fold()
            await both.pay.refund(order.pay_order_id, PRICE, "by-hand")
            await channels.send_back()
            await both.database.fetch(Query("UPDATE owed_refunds SET due_at = now() RETURNING order_id"))
            await both.sender.run_once()
        assert await owed(both) == []
        assert list(windows.returned.values()) == [PRICE]


async def test_refunds_reach_the_order(pay_database: Database, trade_database: Database) -> None:
    """Partially, then wholly; the number of events and their order do not matter."""
    rng = seeded()
    async with shop(pay_database, trade_database) as both:
        await both.pay.fund("7", 10 * PRICE)
        for number in range(1, 11):
            order = await both.order(number, "7", PRICE)
            assert order.pay_order_id is not None
            await both.pay.attempt(order.pay_order_id, "7")
            await both.pay.refund(order.pay_order_id, 40, "first")
            if number % 2:
                await both.pay.refund(order.pay_order_id, 60, "second")
        told = await both.told()
        for _ in range(2):
            rng.shuffle(told)
            await both.take(*told)

        expected = {number: "REFUNDED" if number % 2 else "PARTIALLY_REFUNDED" for number in range(1, 11)}
        assert await both.statuses() == expected
        assert await both.kept() == []


# Orders that have heard nothing ------------------------------------------------------------------


async def test_an_order_that_has_heard_nothing_asks(pay_database: Database, trade_database: Database) -> None:
    """Paid, closed and open ones: each learns what is true, and the open one asks again later."""
    async with shop(pay_database, trade_database) as both:
        await both.pay.fund("7", PRICE)
        orders = [await both.order(number, "7", PRICE) for number in (1, 2, 3)]
        first, second = orders[0].pay_order_id, orders[1].pay_order_id
        assert first is not None
        assert second is not None
        await both.pay.attempt(first, "7")
        await both.client.close(second, "")
        assert await both.checker.run_once() == 0
        await make_checks_due(both)

        assert await both.checker.run_once() == 3

        assert await both.statuses() == {1: "PAID", 2: "CANCELLED", 3: "UNPAID"}
        left = await both.database.fetch(
            Query("SELECT order_id, asked, due_at > now() AS later FROM order_checks")
        )
        assert [tuple(row.values()) for row in left] == [(3, 1, True)]


async def make_checks_due(both: Shop) -> None:
    """Let time pass for the checks."""
    await both.database.fetch(Query("UPDATE order_checks SET due_at = now() RETURNING order_id"))


async def test_unknown_is_never_read_as_unpaid(
    pay_database: Database, trade_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While pay cannot be asked an order stays as it is, and its question is not used up."""
    async with shop(pay_database, trade_database) as both:
        await both.pay.fund("7", PRICE)
        await both.order(1, "7", PRICE)
        await make_checks_due(both)
        with monkeypatch.context() as broken:
            broken.setattr(both.client._pay, "_url", "http://127.0.0.1:1")
            with pytest.raises(PayServiceUnavailable):
                await both.checker.run_once()

        assert await both.statuses() == {1: "UNPAID"}
        rows = await both.database.fetch(Query("SELECT asked FROM order_checks"))
        assert [row["asked"] for row in rows] == [0]
        await both.hear((1, signed(1)))
        assert await both.statuses() == {1: "PAID"}
