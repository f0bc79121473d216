"""Orders and pay orders are written by statements that are transactions by themselves."""

import asyncio
from datetime import timedelta
from typing import Literal

import pytest
from faults import cutting_proxy
from support import PaySide, connected

from paybell.clock import SystemClock
from paybell.errors import OutcomeUnknown
from paybell.pay.model import Application
from paybell.storage import Database
from paybell.trade import store
from paybell.trade.model import Purchase

NUMBERS = range(1, 41)


async def test_applications_of_a_new_merchant_that_meet_themselves_in_another_process_make_one_pay_order_each(
    pay_database: Database,
) -> None:
    """The merchant has no account yet, and each process waits for rows that the other is writing."""
    sides = [PaySide(pay_database, first_id=first, batch_max=7) for first in (1_001, 5_001, 9_001)]
    applications = [Application("new", number, "7", 100, "CNY", "", 600) for number in NUMBERS]

    answers = await asyncio.gather(*(side.pay.apply(one) for one in applications for side in sides))

    assert sum(created for _, created in answers) == len(NUMBERS)
    assert len({order.id for order, _ in answers}) == len(NUMBERS)


async def test_orders_that_two_processes_insert_at_once_are_new_for_one_of_them(
    trade_database: Database,
) -> None:
    now = trade_database.now

    async def insert(first: int) -> set[int]:
        purchases = [Purchase(number, "7", 100, "CNY", "") for number in range(first, first + 40)]
        orders, fresh = await store.insert(trade_database, purchases, now, now + timedelta(seconds=10))
        assert orders.keys() == set(range(first, first + 40))
        return fresh

    fresh = await asyncio.gather(*(insert(first) for first in (1, 20, 1, 30, 20, 1)))

    assert sum(map(len, fresh)) == len(set().union(*fresh)) == 69
    linked = await store.link(trade_database, [(number, 1_000 + number) for number in (3, 1, 2)])
    again = await store.link(trade_database, [(number, 2_000 + number) for number in (1, 2, 3)])
    assert [again[number].pay_order_id for number in (1, 2, 3)] == [1_001, 1_002, 1_003]
    assert linked == again


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_an_application_whose_line_is_cut_is_unknown_until_the_same_again_finds_the_truth(
    pay_database: Database, pay_url: str, cut: Literal["before", "after"]
) -> None:
    application = Application("1", 5001, "7", 100, "CNY", "", 600)
    await PaySide(pay_database).order(4001, "7", 100)  # the merchant has an account
    async with (
        cutting_proxy(pay_url) as proxy,
        Database.open(proxy.url, SystemClock(), connections=2) as database,
    ):
        side = PaySide(database, first_id=2_001)
        proxy.statement, proxy.cut = b"INSERT INTO pay_orders", cut
        with pytest.raises(OutcomeUnknown):
            await side.pay.apply(application)
        _, created = await side.pay.apply(application)

    assert proxy.cuts == 1
    assert created == (cut == "before")
    async with connected(pay_url) as rows:
        assert await rows.fetchval("SELECT count(*) FROM pay_orders WHERE biz_order_no = 5001") == 1
        assert await rows.fetchval("SELECT count(*) FROM pay_order_deadlines") == 2
