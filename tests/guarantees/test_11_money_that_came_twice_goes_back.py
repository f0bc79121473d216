"""Guarantee 11: money that came twice or late goes back by itself, once, and the books know of it."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable

import pytest
from elsewhere import Shop, Windows, opened_shop
from support import connected, seeded

from paybell.channels import store
from paybell.channels.attempt import Attempt
from paybell.channels.circuit import FAILURES_MAX
from paybell.channels.preparation import new_attempt
from paybell.channels.recorder import hold
from paybell.errors import AlreadyPaid, AttemptNotFinal, PaybellError
from paybell.pay import store as pay_orders
from paybell.pay.model import PayOrder
from paybell.pay.status import PayStatus
from paybell.storage import Query

RACES = 150


@pytest.fixture
async def shop(pay_url: str) -> AsyncIterator[Shop]:
    async with opened_shop(pay_url, [Windows(), Windows("others")]) as one:
        yield one


def windows_of(shop: Shop, name: str = "windows") -> Windows:
    channel = shop.lines[name].channel
    assert isinstance(channel, Windows)
    return channel


async def test_a_payment_after_the_close_goes_back_once(shop: Shop) -> None:
    order = await shop.order(1, ttl_seconds=60)
    attempt = await shop.open(order)
    await shop.chase(120)
    await shop.close(order)
    assert windows_of(shop).buyer_pays(attempt, after_close=True)

    assert (await shop.notify(attempt)).body == b"success"
    assert (await shop.notify(attempt)).body == b"success"
    assert await shop.states(order) == ["LATE_SUCCESS"]
    assert await shop.faults() == []
    await shop.send_back()
    await shop.send_back()
    assert windows_of(shop).returned == {str(attempt.id): 100}
    assert (await shop.read(order)).status is PayStatus.TRADE_CLOSED
    assert await shop.faults() == []


async def test_nothing_goes_back_unasked_for_before_its_channel_confirms_that_it_came(shop: Shop) -> None:
    """However often it is asked; and what it says instead is no silence, which would keep others waiting."""
    order = await shop.order(1, ttl_seconds=60)
    attempt = await shop.open(order)
    await shop.chase(120)
    await shop.close(order)
    channel = windows_of(shop)
    channel.buyer_pays(attempt, after_close=True)
    await shop.notify(attempt)
    came = channel.paid.pop(str(attempt.id))

    for _ in range(2 * FAILURES_MAX):
        await shop.send_back(86_400)
        assert channel.returned == {}
        assert not shop.lines["windows"].circuit.away

    channel.paid[str(attempt.id)] = came
    await shop.send_back(86_400)
    assert channel.returned == {str(attempt.id): 100}
    assert await shop.faults() == []


async def test_a_late_payment_of_an_order_that_can_be_paid_still_pays_it(shop: Shop) -> None:
    order = await shop.order(1)
    first = await shop.open(order)
    await shop.open(order, "others")
    assert await shop.states(order) == ["CLOSED", "OPEN"]
    assert windows_of(shop).buyer_pays(first, after_close=True)

    await shop.notify(first)
    assert (await shop.read(order)).channel == "windows"
    await shop.chase()
    assert await shop.states(order) == ["SUCCEEDED", "CLOSED"]
    assert await shop.faults() == []


async def test_of_two_windows_that_are_both_paid_the_second_goes_back(shop: Shop) -> None:
    order = await shop.order(1)
    first = await shop.open(order)
    windows_of(shop).deaf = True
    second = await shop.open(order, "others")
    windows_of(shop).deaf = False
    assert await shop.states(order) == ["OPEN", "OPEN"]
    windows_of(shop).buyer_pays(first)
    windows_of(shop, "others").buyer_pays(second)

    await shop.notify(second)
    await shop.chase()
    await shop.send_back()
    assert (await shop.read(order)).channel == "others"
    assert await shop.states(order) == ["LATE_SUCCESS", "SUCCEEDED"]
    assert windows_of(shop).returned == {str(first.id): 100}
    assert windows_of(shop, "others").returned == {}
    assert await shop.faults() == []


async def race(shop: Shop, order: PayOrder, rng: random.Random) -> None:
    """Do everything at once that may happen to an order."""
    moves: list[Awaitable[object]] = [shop.close(order), shop.side.refund(order.id, 10)]
    for attempt in await shop.attempts(order):
        moves.append(shop.lines[attempt.channel].chaser.chase(attempt))
        if str(attempt.id) in windows_of(shop, attempt.channel).paid:
            moves += [shop.notify(attempt), shop.notify(attempt)]
    rng.shuffle(moves)
    for answer in await asyncio.gather(*moves, return_exceptions=True):
        assert not isinstance(answer, BaseException) or isinstance(answer, PaybellError), answer


async def two_windows_each(shop: Shop, rng: random.Random) -> list[PayOrder]:
    """Return orders with two open windows each, most of which their buyers have paid."""
    orders = [await shop.order(number, ttl_seconds=3600) for number in range(1, RACES + 1)]
    windows_of(shop).deaf = True
    for order in orders:
        await shop.open(order)
        await shop.open(order, "others")
        for attempt in await shop.attempts(order):
            if rng.random() < 0.7:
                windows_of(shop, attempt.channel).buyer_pays(attempt)
    windows_of(shop).deaf = False
    return orders


async def test_races_of_notice_query_close_second_payment_and_refund_have_one_outcome_each(
    shop: Shop,
) -> None:
    rng = seeded()
    orders = await two_windows_each(shop, rng)
    for start in range(0, RACES, 10):
        await asyncio.gather(*(race(shop, order, rng) for order in orders[start : start + 10]))
    for _ in range(4):
        await shop.chase(3600)
        await shop.fold()
        await shop.send_back()
    books = [windows_of(shop, name) for name in shop.lines]
    kept = sum(sum(one.paid.values()) - sum(one.returned.values()) for one in books)
    row = await shop.side.database.fetch_one(
        Query("SELECT sum(amount - refunded_amount)::bigint AS kept FROM pay_orders WHERE status = 3")
    )
    live = await shop.side.database.fetch(Query("SELECT 1 FROM attempts WHERE next_query_at IS NOT NULL"))

    assert row is not None
    assert row["kept"] == kept
    assert live == []
    assert await shop.faults() == []


# What somebody does to the books behind our back, and what verify calls it.
PLANTED = {
    "attempt_differs": "UPDATE attempts SET state = 'CLOSED', transaction_id = NULL "
    "WHERE state = 'SUCCEEDED'",
    "payment_differs": "UPDATE pay_order_channels SET channel = 'others'",
    "paid_without_transfer": "DELETE FROM transfers WHERE kind = 'payment'",
    "receipt_missing": "DELETE FROM transfers WHERE kind = 'receipt'",
    "return_missing": "DELETE FROM transfers WHERE kind = 'return'",
    "refund_differs": "UPDATE channel_refunds SET state = 'FAILED' WHERE refund_id IS NOT NULL",
    "refunds_differ": "UPDATE channel_refunds SET state = 'FAILED' WHERE refund_id IS NOT NULL",
    "hold_missing": "DELETE FROM pay_order_holds",
    "receipt_without_counterpart": "UPDATE attempts SET state = 'CLOSED', transaction_id = NULL "
    "WHERE state = 'LATE_SUCCESS'",
    "account_differs": "UPDATE accounts SET debits = debits + 1 WHERE kind = 'clearing'",
}


async def test_verify_finds_what_was_changed_of_money_from_elsewhere(shop: Shop, pay_url: str) -> None:
    """A payment, one that came twice and has gone back, a refund, and an order in doubt."""
    paid, open_ = await shop.order(1), await shop.order(2)
    first = await shop.open(paid)
    windows_of(shop).deaf = True
    second = await shop.open(paid, "others")
    windows_of(shop).deaf = False
    for one in (first, second):
        windows_of(shop, one.channel).buyer_pays(one)
        await shop.notify(one)
    await shop.side.refund(paid.id, 30)
    await shop.send_back()
    await shop.open(open_)
    assert await shop.faults() == []

    for what, statement in PLANTED.items():
        table = table_of(statement)
        async with connected(pay_url) as rows, rows.transaction():
            await rows.execute("SET LOCAL session_replication_role = replica")
            await rows.execute(f"CREATE TABLE kept AS SELECT * FROM {table}")  # noqa: S608 - one of ours
            await rows.execute(statement)
        found = {one.partition(" ")[2] for one in await shop.faults()}
        async with connected(pay_url) as rows, rows.transaction():
            await rows.execute("SET LOCAL session_replication_role = replica")
            await rows.execute(
                f"DELETE FROM {table}; "  # noqa: S608 - one of ours
                f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM kept; DROP TABLE kept"
            )
        assert what in found
    assert await shop.faults() == []


def table_of(statement: str) -> str:
    """Return the table that a statement changes."""
    words = statement.split()
    return words[2] if words[0] == "DELETE" else words[1]


async def test_a_window_that_was_only_prepared_when_its_process_died_is_never_opened(shop: Shop) -> None:
    """Another channel is chosen: it is given up, and its process, should it live, may not send it."""
    order = await shop.order(1)
    prepared = await dies_before_it_is_sent(shop, order)

    await shop.open(order, "others")

    assert await shop.states(order) == ["REFUSED", "OPEN"]
    async with shop.side.database.transaction() as tx:
        assert not await store.mark_sent(tx, prepared.id)


async def dies_before_it_is_sent(shop: Shop, order: PayOrder) -> Attempt:
    """Prepare a window and go no further."""
    async with shop.side.database.transaction() as tx:
        order = (await pay_orders.lock(tx, [order.id]))[order.id]
        channel = windows_of(shop)
        one = new_attempt(7, order, channel, now=tx.now, expires_at=order.expires_at, traceparent="")
        await store.insert(tx, one)
        await hold(tx, order, {}, {one.id: one})
    return one


@pytest.mark.parametrize("keeps", [False, True])
async def test_a_refund_that_is_asked_for_again_is_answered_as_it_stands(shop: Shop, keeps: bool) -> None:
    order = await shop.order(1)
    windows_of(shop).buyer_pays(attempt := await shop.open(order))
    await shop.notify(attempt)
    await shop.fold()
    windows_of(shop).keeps = keeps

    first = await shop.side.refund(order.id, 30)
    on_its_way = await shop.side.refund(order.id, 30)
    await shop.send_back()
    decided = await shop.side.refund(order.id, 30)

    assert isinstance(first, dict)
    assert first["status"] == "PENDING"
    assert on_its_way == first
    back = {"status": "FAILED"} if keeps else {"status": "SUCCEEDED", "refundedAmount": 30, "version": 3}
    assert decided == first | back
    assert await shop.faults() == []


async def test_an_order_that_is_closed_closes_its_windows_first(shop: Shop) -> None:
    order = await shop.order(1)
    attempt = await shop.open(order)

    assert (await shop.close(order)).status is PayStatus.TRADE_CLOSED

    assert await shop.states(order) == ["CLOSED"]
    assert not windows_of(shop).buyer_pays(attempt)


async def test_an_order_whose_window_was_paid_a_moment_ago_is_paid_and_not_closed(shop: Shop) -> None:
    order = await shop.order(1)
    windows_of(shop).buyer_pays(await shop.open(order))

    with pytest.raises(AlreadyPaid):
        await shop.close(order)

    assert (await shop.read(order)).status is PayStatus.TRADE_SUCCESS
    assert await shop.faults() == []


async def test_an_order_whose_channel_does_not_confirm_the_close_stays_open(shop: Shop) -> None:
    order = await shop.order(1)
    attempt = await shop.open(order)
    windows_of(shop).deaf = True

    with pytest.raises(AttemptNotFinal):
        await shop.close(order)

    windows_of(shop).deaf = False
    assert windows_of(shop).buyer_pays(attempt)
    await shop.notify(attempt)
    assert (await shop.read(order)).status is PayStatus.TRADE_SUCCESS
