"""Promise 7: payment, expiry, close and cancel racing on one order leave exactly one outcome."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from shop import shop, signed
from support import PaySide, cases, codes, connected, seeded, until, waiting_for_locks

from paybell.errors import AlreadyPaid, PaybellError, PayOrderClosed
from paybell.ids import new_traceparent
from paybell.pay.model import PayOrder
from paybell.pay.status import PayStatus
from paybell.storage import Database, Query
from paybell.testing import FrozenClock
from paybell.tokens import Principal
from paybell.trade import store
from paybell.trade.model import Order
from paybell.verification.ledger_check import trial_balance

MERCHANT = Principal("shop", frozenset(), "1")
RACES, RACES_OF_BOTH, AT_ONCE = 1_000, cases(2_000), 50
Act = Callable[[PaySide, int], Awaitable[PayOrder | PaybellError]]


async def pay(side: PaySide, order_id: int) -> PayOrder | PaybellError:
    """Pay as user 7."""
    return await side.attempt(order_id, "7")


async def close(side: PaySide, order_id: int) -> PayOrder | PaybellError:
    """Close as the merchant."""
    try:
        return await side.pay.close(order_id, MERCHANT, new_traceparent())
    except PaybellError as error:
        return error


async def outcomes_on_disk(url: str) -> dict[int, str]:
    """Return each order's status, after making sure that money and events tell the same story."""
    async with connected(url) as connection:
        rows = await connection.fetch(
            """
            SELECT id, status,
                   (SELECT coalesce(sum(transfers.amount), 0) FROM transfers
                    WHERE kind = 'payment' AND reference = pay_orders.id::text) = amount AS moved,
                   ARRAY(SELECT type FROM outbox WHERE subject = biz_order_no::text) AS events
            FROM pay_orders
            """
        )
    for row in rows:
        assert row["moved"] == (row["status"] == PayStatus.TRADE_SUCCESS)
        assert row["events"] == {2: ["pay.closed"], 3: ["pay.success"]}.get(row["status"], [])
    return {row["id"]: PayStatus(row["status"]).name for row in rows}


@pytest.mark.parametrize(("first", "second"), [(pay, close), (close, pay)])
async def test_payment_and_close_that_meet_have_the_first_as_the_winner(
    pay_database: Database, pay_url: str, first: Act, second: Act
) -> None:
    """Both need the same row; whoever gets it decides, and the other one is told when it comes back."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000)
    order = await side.order(5001, "7", 100)

    async with connected(pay_url) as holding:
        async with holding.transaction():
            await holding.execute("LOCK TABLE outbox IN SHARE MODE")  # the first stops at its event
            racing = [asyncio.ensure_future(first(side, order.id))]
            await until(lambda: waiting_for_locks(holding, 1))
            racing.append(asyncio.ensure_future(second(side, order.id)))
            await asyncio.sleep(0)
        winner, loser = await asyncio.gather(*racing)

    assert isinstance(winner, PayOrder)
    assert isinstance(loser, AlreadyPaid if first is pay else PayOrderClosed)
    assert await outcomes_on_disk(pay_url) == {order.id: winner.status.name}
    assert await side.balance("7") == (900 if first is pay else 1_000)


async def test_a_thousand_races_between_payment_and_close_have_one_outcome_each(
    pay_database: Database, pay_url: str
) -> None:
    """Started in both orders; the answers, the order, the money and the one event agree every time."""
    rng = seeded()
    side = PaySide(pay_database, batch_max=4)
    await side.fund("7", RACES)
    orders = await asyncio.gather(*(side.order(number, "7", 1) for number in range(1, RACES + 1)))
    paid = 0

    async def race(order: PayOrder) -> tuple[PayOrder | PaybellError, PayOrder | PaybellError]:
        if rng.random() < 0.5:
            payment, closing = await asyncio.gather(pay(side, order.id), close(side, order.id))
        else:
            closing, payment = await asyncio.gather(close(side, order.id), pay(side, order.id))
        return payment, closing

    for start in range(0, RACES, 20):
        for payment, closing in await asyncio.gather(*map(race, orders[start : start + 20])):
            assert codes([payment, closing]) in (["paid", "already_paid"], ["pay_order_closed", "paid"])
            paid += isinstance(payment, PayOrder)

    on_disk = list((await outcomes_on_disk(pay_url)).values())
    assert on_disk.count("TRADE_SUCCESS") == paid
    assert on_disk.count("TRADE_CLOSED") == RACES - paid
    assert await side.balance("7") == RACES - paid
    assert await trial_balance(pay_database)


@pytest.mark.parametrize(
    ("microseconds_before", "outcome"), [(1, "paid"), (0, "pay_order_closed"), (-1, "pay_order_closed")]
)
async def test_the_deadline_is_kept_inside_the_paying_transaction(
    pay_url: str, microseconds_before: int, outcome: str
) -> None:
    """Nobody has to have closed it before: at its last moment it can be paid, at the next it cannot."""
    clock = FrozenClock()
    async with Database.open(pay_url, clock) as database:
        side = PaySide(database)
        await side.fund("7", 1_000)
        order = await side.order(5001, "7", 100, ttl_seconds=600)
        clock.advance(600 - microseconds_before / 1_000_000)

        answer = await side.attempt(order.id, "7")

        assert codes([answer]) == [outcome]
        assert await side.balance("7") == (900 if outcome == "paid" else 1_000)
        await outcomes_on_disk(pay_url)


async def test_a_payment_that_was_in_time_stays_one_after_the_deadline(pay_url: str) -> None:
    """Paying again, and applying again, answer as before."""
    clock = FrozenClock()
    async with Database.open(pay_url, clock) as database:
        side = PaySide(database)
        await side.fund("7", 1_000)
        order = await side.order(5001, "7", 100, ttl_seconds=600)
        first = await side.attempt(order.id, "7")
        clock.advance(10_000)

        assert await side.attempt(order.id, "7") == first
        with pytest.raises(AlreadyPaid):
            await side.order(5001, "7", 100)


async def test_an_expired_order_can_be_closed_and_stays_closed(pay_url: str) -> None:
    """Expiry and close are the same outcome: one event, however often it is closed."""
    clock = FrozenClock()
    async with Database.open(pay_url, clock) as database:
        side = PaySide(database)
        await side.fund("7", 1_000)
        order = await side.order(5001, "7", 100, ttl_seconds=600)
        clock.advance(601)

        answers = await asyncio.gather(*(close(side, order.id) for _ in range(10)))

        assert all(answer == answers[0] for answer in answers)
        assert await outcomes_on_disk(pay_url) == {order.id: "TRADE_CLOSED"}
        assert codes([await pay(side, order.id)]) == ["pay_order_closed"]


@pytest.mark.parametrize("status", [0, 1, 2, 3])
async def test_an_order_cannot_be_paid_and_closed_at_once(
    pay_database: Database, pay_url: str, status: int
) -> None:
    """The schema refuses it, whatever the program decides."""
    side = PaySide(pay_database)
    await side.order(5001, "7", 100)

    async with connected(pay_url) as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(
                "UPDATE pay_orders SET status = $1, succeeded_at = now(), closed_at = now()", status
            )


async def test_cancelling_and_paying_at_once_leave_one_outcome(
    pay_database: Database, trade_database: Database
) -> None:
    """Across both services: a cancelled order's money never moved, a paid order is not cancelled."""
    rng = seeded()
    async with shop(pay_database, trade_database) as both:
        await both.pay.fund("7", RACES_OF_BOTH)
        orders = await asyncio.gather(*(both.order(number, "7", 1) for number in range(1, RACES_OF_BOTH + 1)))

        async def race(order: Order) -> str:
            assert order.pay_order_id is not None
            racing = [both.pay.attempt(order.pay_order_id, "7"), both.cancel(order.id, "7")]
            first = rng.randrange(2)
            answers = await asyncio.gather(racing[first], racing[1 - first])
            payment, cancelling = answers[first], answers[1 - first]
            if isinstance(payment, PayOrder):
                assert codes([cancelling]) == ["already_paid"]
                await both.hear((order.id, signed(order.id, 1)))
                return "PAID"
            assert codes([payment]) == ["pay_order_closed"]
            assert isinstance(cancelling, Order)
            return "CANCELLED"

        outcomes: dict[int, str] = {}
        for start in range(0, RACES_OF_BOTH, AT_ONCE):
            racing = orders[start : start + AT_ONCE]
            ended = await asyncio.gather(*map(race, racing))
            outcomes |= {order.id: outcome for order, outcome in zip(racing, ended, strict=True)}

        assert await both.statuses() == outcomes
        assert await both.pay.balance("7") == list(outcomes.values()).count("CANCELLED")
        assert await both.kept() == []
        assert await trial_balance(pay_database)


async def test_cancelling_and_the_success_message_at_once_leave_one_outcome(
    pay_database: Database, trade_database: Database
) -> None:
    """An order service that cancels without asking pay: the order is paid, or its money goes back."""
    rng = seeded()
    async with shop(pay_database, trade_database) as both:
        await both.pay.fund("7", RACES_OF_BOTH)
        orders = await asyncio.gather(*(both.order(number, "7", 1) for number in range(1, RACES_OF_BOTH + 1)))
        paid = await asyncio.gather(*(both.pay.attempt(order.pay_order_id or 0, "7") for order in orders))
        assert set(codes(paid)) == {"paid"}
        told = await both.told()

        async def cancel(number: int) -> None:
            async with trade_database.transaction() as tx:
                await store.mark_cancelled(tx, number)

        for start in range(0, RACES_OF_BOTH, AT_ONCE):
            acts = [both.take(one) for one in told[start : start + AT_ONCE]]
            acts += [cancel(order.id) for order in orders[start : start + AT_ONCE]]
            rng.shuffle(acts)
            await asyncio.gather(*acts)
        while await both.sender.run_once():
            await both.take(*await both.told())

        statuses = list((await both.statuses()).values())
        cancelled = statuses.count("CANCELLED")
        assert statuses.count("PAID") == RACES_OF_BOTH - cancelled
        assert await both.pay.balance("7") == cancelled
        assert await both.kept() == []
        assert await trial_balance(pay_database)


async def test_a_late_message_revives_nothing(pay_database: Database, trade_database: Database) -> None:
    """A cancelled order stays cancelled, and owes its money; a refunded one stays too."""
    async with shop(pay_database, trade_database) as both:
        for number in (1, 2, 3):
            await both.order(number, "7", 100)
        await both.cancel(1, "7")
        await both.hear(*((number, signed(number)) for number in (2, 3)))
        refund = Query(
            "UPDATE orders SET status = 'REFUNDED', refunded_amount = 100 WHERE id = 2 RETURNING id"
        )
        await both.database.fetch(refund)
        await both.database.fetch(Query("DELETE FROM inbox RETURNING event_id"))  # as if never heard before

        await both.hear(*((number, signed(number)) for number in (1, 2, 3)))

        assert await both.statuses() == {1: "CANCELLED", 2: "REFUNDED", 3: "PAID"}
        assert await both.kept() == []
        owed = await both.database.fetch(Query("SELECT order_id FROM owed_refunds"))
        assert [row["order_id"] for row in owed] == [1]
