"""Guarantee 11 where a buyer leaves a window and pays by balance: its channel closes it first."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from elsewhere import BUYER, Shop, Windows, opened_shop
from support import codes, payment

from paybell.channels.answers import Unknown
from paybell.channels.circuit import FAILURES_MAX
from paybell.pay.model import PayOrder
from paybell.pay.releasing import Releasing
from paybell.storage import Query

WRITERS = Query("SELECT DISTINCT xmin::text FROM pay_orders WHERE status = 3")


@pytest.fixture
async def shop(pay_url: str) -> AsyncIterator[Shop]:
    async with opened_shop(pay_url, [Windows(), Windows("others")]) as one:
        await one.side.fund(BUYER, 1000)
        yield one


def windows_of(shop: Shop) -> Windows:
    channel = shop.lines["windows"].channel
    assert isinstance(channel, Windows)
    return channel


async def paid_by(shop: Shop, order: PayOrder) -> tuple[str | None, int]:
    """Pay by balance; return which channel has paid the order then, and what the balance is."""
    answer = await shop.side.attempt(order.id, BUYER)
    assert codes([answer]) == ["paid"]
    return (await shop.read(order)).channel, await shop.side.balance(BUYER)


async def test_who_pays_by_balance_cannot_pay_at_the_channel_any_more(shop: Shop) -> None:
    order = await shop.order(1)
    attempt = await shop.open(order)

    assert await paid_by(shop, order) == ("balance", 900)
    assert await shop.states(order) == ["CLOSED"]
    assert not windows_of(shop).buyer_pays(attempt)
    assert await shop.faults() == []


async def test_what_was_paid_at_the_channel_a_moment_before_is_not_paid_again(shop: Shop) -> None:
    order = await shop.order(1)
    windows_of(shop).buyer_pays(await shop.open(order))

    assert await paid_by(shop, order) == ("windows", 1000)
    assert await shop.faults() == []


@pytest.mark.parametrize("away", [False, True], ids=["says nothing certain", "counts as away"])
async def test_a_channel_that_does_not_close_keeps_nobody_from_a_balance(shop: Shop, away: bool) -> None:
    order = await shop.order(1)
    attempt = await shop.open(order)
    windows_of(shop).deaf = True
    if away:
        for _ in range(FAILURES_MAX):
            shop.lines["windows"].circuit.note(Unknown("deaf"))
        assert shop.lines["windows"].circuit.away

    assert await paid_by(shop, order) == ("balance", 900)
    windows_of(shop).deaf = False
    assert windows_of(shop).buyer_pays(attempt)
    await shop.notify(attempt)
    await shop.send_back()
    assert await shop.states(order) == ["LATE_SUCCESS"]
    assert windows_of(shop).returned == {str(attempt.id): 100}
    assert await shop.faults() == []


async def test_a_channel_that_hangs_is_waited_for_a_moment_and_heard_to_its_end(shop: Shop) -> None:
    order = await shop.order(1)
    await shop.open(order)
    windows_of(shop).closing = answering = asyncio.Event()
    shop.side.pay._releasing = Releasing(shop.side.releasing, seconds=0.05)

    assert await paid_by(shop, order) == ("balance", 900)
    assert await shop.states(order) == ["OPEN"]
    answering.set()
    await asyncio.gather(*shop.side.pay._releasing._asking)
    assert await shop.states(order) == ["CLOSED"]


async def test_who_cannot_pay_by_balance_keeps_the_window(shop: Shop) -> None:
    orders = [await shop.order(1), await shop.order(2, amount=1001)]
    attempts = [await shop.open(order) for order in orders]

    wrong = await shop.side.attempt(orders[0].id, BUYER, "000000")
    dear = await shop.side.attempt(orders[1].id, BUYER)
    assert codes([wrong, dear]) == ["wrong_pay_password", "insufficient_balance"]
    assert [await shop.states(order) for order in orders] == [["OPEN"], ["OPEN"]]
    assert all(windows_of(shop).buyer_pays(attempt) for attempt in attempts)


async def test_windows_of_some_hold_up_no_others_of_a_batch(shop: Shop) -> None:
    """All are decided in one transaction: those with windows are refused in it, and do not end it."""
    orders = [await shop.order(number, 1) for number in range(1, 9)]
    for order in orders[::4]:
        await shop.open(order)

    outcomes = await shop.side.pay.settle_batch([payment(order.id, BUYER) for order in orders])
    assert codes(outcomes) == ["attempt_not_final", "paid", "paid", "paid"] * 2
    assert len(await shop.side.database.fetch(WRITERS)) == 1
