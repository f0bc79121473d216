"""A list is read in bounded pieces: a filter that few rows pass makes pages short, never slow or wrong."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

import pytest
from support import PaySide, codes, connected, until

from paybell.clock import SystemClock
from paybell.ids import first_id
from paybell.pay.lists import pay_order_list
from paybell.storage import Database
from paybell.storage.listing import Wanted
from paybell.testing import FrozenClock

STOCK = """
INSERT INTO pay_orders (id, merchant_id, biz_order_no, payer_id, payee_account, amount, currency, subject,
                        status, version, created_at, expires_at)
SELECT $1::bigint + (n::bigint * 10 << 22), CASE n % 3 WHEN 0 THEN 'a' ELSE 'b' END, n, 'payer', 1,
       CASE WHEN n % 3000 = 0 THEN 7 ELSE 5 END, 'CNY', '', 1, 1,
       $2::timestamptz + n * interval '10 ms', $2::timestamptz + interval '1 day'
FROM generate_series(1, 12000) AS n
"""


class Hurried(SystemClock):
    """A clock by which every look takes long: so a page is one piece."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def monotonic(self) -> float:
        """Return a second more each time."""
        self._seconds += 1.0
        return self._seconds


@pytest.fixture
async def wanted(pay_url: str) -> Wanted:
    """A list over 12,000 pay orders, of which every three-thousandth has the amount 7."""
    begin = SystemClock().now() - timedelta(hours=1)
    async with connected(pay_url) as rows:
        await rows.execute(
            "INSERT INTO accounts (kind, owner_id, currency, created_at) "
            "VALUES ('merchant', 'a', 'CNY', now())"
        )
        await rows.execute(STOCK, first_id(begin), begin)
    return Wanted(begin, begin + timedelta(hours=2), 50)


async def test_a_rare_row_is_found_over_short_pages_each_once(pay_database: Database, wanted: Wanted) -> None:
    """Two pieces of 5,000 rows and a last one, each a page; every page says where to go on."""
    rare, found, pages = replace(wanted, least=7, most=7), list[int](), 0
    hurried = pay_order_list(pay_database, Hurried())
    place = None
    while pages == 0 or place is not None:
        page = await hurried.page(replace(rare, after=place))
        found, place, pages = found + [order.biz_order_no for order in page.rows], page.next, pages + 1

    assert found == [12_000, 9_000, 6_000, 3_000]
    assert pages == 3


async def test_one_page_goes_through_several_pieces_while_it_has_time(
    pay_database: Database, wanted: Wanted
) -> None:
    """Of one merchant too, along its own index; time stands still meanwhile."""
    listing = pay_order_list(pay_database, FrozenClock())

    page = await listing.page(replace(wanted, least=7))
    of_merchant = await listing.page(replace(wanted, least=7, merchant="b"))
    of_payer = await listing.page(replace(wanted, least=7, person="payer"))

    assert [order.biz_order_no for order in page.rows] == [12_000, 9_000, 6_000, 3_000]
    assert of_merchant.rows == []
    assert of_payer == page
    assert (page.next, of_merchant.next) == (None, None)


async def test_a_table_shows_one_moment_however_long_it_is_read(
    pay_url: str, pay_database: Database, wanted: Wanted
) -> None:
    """What changes between two of its pages is as it was."""
    listing, statuses = pay_order_list(pay_database, FrozenClock()), set[str]()
    async with connected(pay_url) as rows, aclosing(listing.table(wanted)) as pages:
        async for page in pages:
            statuses |= {order.status.name for order in page.rows}
            await rows.execute(
                "UPDATE pay_orders SET status = 2, closed_at = now() "
                "WHERE biz_order_no <= 1000 AND status = 1"
            )

    assert statuses == {"WAIT_BUYER_PAY"}


async def test_paying_writes_no_index_of_pay_orders(pay_url: str) -> None:
    """So lists cost a payment nothing: there is room in the page, and no index has what a payment changes."""
    async with Database.open(pay_url, SystemClock(), connections=4) as database:
        side = PaySide(database)
        await side.fund("7", 1_000)
        orders = await asyncio.gather(*(side.order(5_000 + n, "7", 1) for n in range(400)))
        outcomes = await asyncio.gather(*(side.attempt(order.id, "7") for order in orders))

    async with connected(pay_url) as rows:
        counted = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'pay_orders'"

        async def all_counted() -> bool:
            return bool(await rows.fetchval(counted) == 400)

        await until(all_counted)  # a session says what it did when it ends
        _, inside = await rows.fetchrow(counted) or (0, 0)

    assert codes(outcomes) == ["paid"] * 400
    assert inside >= 360
