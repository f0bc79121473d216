"""Promise 3, after messages are lost for good: the books are compared, and what is missing is republished."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import timedelta

import pytest
from amqp import Stranger, rabbit, stranger
from relaying import listening, relay, trade_listener
from shop import Shop, shop
from support import PaySide, codes

from paybell.clock import SystemClock
from paybell.ids import ID_MAX, ID_MINUTE
from paybell.messaging.broker import Broker
from paybell.messaging.events import TRADE_QUEUE, topology
from paybell.reconciliation.acknowledgements import Acknowledgements
from paybell.reconciliation.comparison import Comparison
from paybell.reconciliation.differences import Difference, Kind
from paybell.reconciliation.pay_books import PayBooks, found_last
from paybell.reconciliation.periodic import RECONCILE, PeriodicReconciler
from paybell.reconciliation.reconciler import Reconciler
from paybell.reconciliation.republisher import Republisher
from paybell.reconciliation.trade_books import TradeBooks
from paybell.storage import Database, Query
from paybell.storage.operator_actions import list_actions
from paybell.testing import FrozenClock
from paybell.verification.ledger_check import trial_balance

CLASSIC = (1658453559437434882, 1659160216593354754)
PRICE = 100


class Books:
    """Both sides of a shop, and a clock that is past what may be under way."""

    def __init__(self, both: Shop) -> None:
        """Read the shop's databases."""
        self.both = both
        self.clock = FrozenClock(SystemClock().now() + timedelta(minutes=1))
        self.pay = PayBooks(both.pay.database, both.pay.outbox, "1")
        self.trade = TradeBooks(both.database)
        acknowledgements = Acknowledgements(both.pay.database, "1")
        self.reconciler = Reconciler(self.pay, self.trade, acknowledgements, self.clock)
        self.republisher = Republisher(self.pay, self.trade, SystemClock())

    async def differences(self, width: int = ID_MINUTE) -> list[Difference]:
        """Compare everything there is."""
        comparison = Comparison(self.pay, self.trade, self.clock, width)
        return [one async for found in comparison.differences() for one in found]

    async def kinds(self, width: int = ID_MINUTE) -> dict[int, Kind]:
        """Return what is wrong with which order."""
        return {one.number: one.kind for one in await self.differences(width)}


async def paid_orders(both: Shop, numbers: Sequence[int]) -> None:
    """Have orders made and paid, and the order service hear of nothing."""
    await both.pay.fund("7", PRICE * len(numbers))
    for start in range(0, len(numbers), 200):
        orders = await asyncio.gather(*(both.order(n, "7", PRICE) for n in numbers[start : start + 200]))
        answers = await asyncio.gather(*(both.pay.attempt(order.pay_order_id or 0, "7") for order in orders))
        assert set(codes(answers)) == {"paid"}


async def test_the_two_successful_pay_orders_whose_orders_stayed_unpaid(
    pay_database: Database, trade_database: Database
) -> None:
    """The classic case: found, republished under the same ids, and nothing is left to find."""
    async with shop(pay_database, trade_database) as both:
        books = Books(both)
        side = both.pay
        await side.fund("7", 2 * PRICE)
        await side.open_merchant()
        for number, pay_order_id in enumerate(CLASSIC, 1):
            one = PaySide(pay_database, first_id=pay_order_id)
            order = await one.order(number, "7", PRICE)
            assert order.id == pay_order_id
            await both.order(number, "7", PRICE)
            await one.attempt(order.id, "7")
        lost = await both.told()  # and never delivered

        found = await books.differences()
        await books.republisher.republish(found)
        again = await both.told()
        await both.take(*again)

        assert [(one.pay.pay_order_id, one.kind) for one in found if one.pay] == [
            (pay_order_id, Kind.PAYMENT_NOT_HEARD) for pay_order_id in CLASSIC
        ]
        assert [(one.body, one.headers["cloudEvents:id"]) for one in again] == [
            (one.body, one.headers["cloudEvents:id"]) for one in lost
        ]
        assert await both.statuses() == {1: "PAID", 2: "PAID"}
        assert await books.differences() == []
        assert await side.balance("7") == 0
        assert await trial_balance(pay_database)


@pytest.mark.rabbitmq
async def test_a_thousand_messages_deleted_by_hand_come_back_in_one_run(
    pay_database: Database, trade_database: Database, rabbitmq_url: str
) -> None:
    """Purged from the real queue; a second run finds nothing."""
    numbers = range(1, 1_001)
    async with (
        shop(pay_database, trade_database) as both,
        rabbit(rabbitmq_url) as broker,
    ):
        with stranger(rabbitmq_url) as outside:
            outside.forget(topology())
            books = Books(both)
            await paid_orders(both, numbers)
            await broker.declare(topology())
            await publish_all(both, broker)
            assert purge(outside) == len(numbers)

            found = await books.differences()
            await books.republisher.republish(found)
            async with listening(trade_listener(both, broker)):
                await publish_all(both, broker)
                comparison = Comparison(books.pay, books.trade, books.clock)
                repaired = await books.republisher.until_repaired(found, comparison, 15)

        assert (len(found), repaired) == (1_000, 1_000)
        assert set((await both.statuses()).values()) == {"PAID"}
        assert await books.differences() == []


async def publish_all(both: Shop, broker: Broker) -> None:
    """Publish what waits in pay's outbox."""
    telling = relay(both.pay.outbox, broker)
    while (await both.pay.outbox.state())[0]:
        await telling.run_once()


def purge(outside: Stranger) -> int:
    """Delete every message of the order service's queue."""
    return int(outside.channel.queue_purge(TRADE_QUEUE).method.message_count)


@pytest.mark.parametrize("width", [1, 7, ID_MINUTE])
async def test_only_what_differs_is_found_wherever_the_buckets_are_cut(
    pay_database: Database, trade_database: Database, width: int
) -> None:
    """Among forty in every state some lie: each is found under its name, and none of the others."""
    async with shop(pay_database, trade_database) as both:
        books = Books(both)
        await paid_orders(both, range(1, 31))
        for number in range(31, 41):
            order = await both.order(number, "7", PRICE)
            if number > 35:
                await both.client.close(order.pay_order_id or 0, "")
        for number in (1, 2, 3):
            pay_order = (await both.trade.read_many([number]))[0].pay_order_id or 0
            await both.pay.refund(pay_order, 40 if number < 3 else PRICE)
        await both.take(*await both.told())
        assert await books.kinds(width) == {}

        unpaid, cancelled = "status = 'UNPAID', paid_at = NULL", "status = 'CANCELLED', cancelled_at = now()"
        lies = {
            10: (unpaid, Kind.PAYMENT_NOT_HEARD),
            1: ("status = 'PAID', refunded_amount = 0", Kind.REFUND_NOT_HEARD),
            38: ("status = 'UNPAID', cancelled_at = NULL", Kind.CLOSE_NOT_HEARD),
            32: (cancelled, Kind.CANCELLED_BUT_OPEN),
            33: ("status = 'PAID', paid_at = now()", Kind.PAID_WITHOUT_PAYMENT),
            11: ("total_fee = 99", Kind.DIFFERENT_TERMS),
            12: ("pay_order_id = pay_order_id + 1000000", Kind.DIFFERENT_TERMS),
            13: ("pay_order_id = NULL", None),
            14: (cancelled, Kind.PAID_BUT_CANCELLED),
        }
        for number, (lie, _) in lies.items():
            lying = f"UPDATE orders SET {lie} WHERE id = {number} RETURNING id"  # noqa: S608
            assert await trade_database.fetch(Query(lying))
        await trade_database.fetch(Query("DELETE FROM order_checks RETURNING order_id"))
        await trade_database.fetch(Query("DELETE FROM orders WHERE id = 15 RETURNING id"))

        found = await books.kinds(width)

        expected = {number: kind for number, (_, kind) in lies.items() if kind}
        assert found == expected | {15: Kind.PAID_WITHOUT_ORDER}


async def test_what_still_waits_or_happened_just_now_is_no_difference(
    pay_database: Database, trade_database: Database
) -> None:
    """An event in the outbox is late, not lost."""
    async with shop(pay_database, trade_database) as both:
        books = Books(both)
        await paid_orders(both, range(1, 6))

        comparison = Comparison(books.pay, books.trade, books.clock)
        found = [one async for batch in comparison.differences() for one in batch]

        assert found == []
        assert comparison.compared.waiting == 5


async def test_an_inbox_that_remembers_what_was_never_done_does_not_stop_the_repair(
    pay_database: Database, trade_database: Database
) -> None:
    """As after a backup of the orders that is older than that of the inbox."""
    async with shop(pay_database, trade_database) as both:
        books = Books(both)
        await paid_orders(both, [1])
        await both.take(*await both.told())
        await trade_database.fetch(Query("UPDATE orders SET status = 'UNPAID', paid_at = NULL RETURNING id"))

        await books.republisher.republish(await books.differences())
        await both.take(*await both.told())

        assert await both.statuses() == {1: "PAID"}


def schedule(books: Books, **limits: int) -> PeriodicReconciler:
    """Make the reconciler of a process whose turn it always is."""
    return PeriodicReconciler(
        books.reconciler,
        books.pay,
        books.clock,
        period_seconds=0,
        window_seconds=limits.pop("window_seconds", 10**9),
        **limits,
    )


async def test_standing_differences_stop_no_repair_by_the_schedule(
    pay_database: Database, trade_database: Database
) -> None:
    """Two old payments without an order, and a hundred newer ones not delivered: PAID in two periods."""
    async with shop(pay_database, trade_database) as both:
        books, found = Books(both), list[int | None]()
        await both.pay.fund("8", 2 * PRICE)
        for number, pay_order_id in enumerate(CLASSIC, 1_001):
            old = PaySide(pay_database, first_id=pay_order_id)
            await old.attempt((await old.order(number, "8", PRICE)).id, "8")
        await paid_orders(both, range(1, 101))
        await both.told()  # lost
        periodic = schedule(books)

        for _ in range(2):
            await periodic.run_once()
            found.append(await found_last(pay_database, RECONCILE))
            await both.take(*await both.told())

        assert found == [102, 2]
        assert set((await both.statuses()).values()) == {"PAID"}
        assert set((await books.kinds()).values()) == {Kind.PAID_WITHOUT_ORDER}


@pytest.mark.parametrize("news", ["refunded", "paid", "closed"])
async def test_what_changed_of_a_pay_order_older_than_the_window_is_repaired(
    pay_database: Database, trade_database: Database, news: str
) -> None:
    """Years after it was made."""
    async with shop(pay_database, trade_database) as both:
        books, found = Books(both), list[int | None]()
        old = PaySide(pay_database, first_id=CLASSIC[0])
        await old.fund("7", PRICE)
        order = await old.order(1, "7", PRICE)
        await both.order(1, "7", PRICE)
        if news != "closed":
            await old.attempt(order.id, "7")
        if news == "refunded":
            await both.take(*await both.told())
            await old.refund(order.id, 40)
        if news == "closed":
            await both.client.close(order.id, "")
        await both.told()  # lost
        periodic = schedule(books, window_seconds=3600)

        for _ in range(2):
            await periodic.run_once()
            found.append(await found_last(pay_database, RECONCILE))
            await both.take(*await both.told())

        status = {"refunded": "PARTIALLY_REFUNDED", "paid": "PAID", "closed": "CANCELLED"}[news]
        assert (await both.statuses())[1] == status
        assert found == [1, 0]


async def test_a_comparison_goes_on_after_where_another_ended(
    pay_database: Database, trade_database: Database
) -> None:
    """Each chunk says how far it came."""
    async with shop(pay_database, trade_database) as both:
        books = Books(both)
        await paid_orders(both, range(1, 8))
        await both.told()
        first = Comparison(books.pay, books.trade, books.clock, chunk=3)
        begun = list[Difference]()
        async with aclosing(first.differences()) as batches:
            async for batch in batches:
                begun += batch
                if first.compared.position:
                    break

        second = Comparison(books.pay, books.trade, books.clock, chunk=3)
        rest = [one async for batch in second.differences(after=first.compared.position) for one in batch]

        assert (len(begun), len(rest)) == (3, 4)
        assert {one.number for one in begun + rest} == set(range(1, 8))


async def test_an_acknowledged_difference_is_not_counted_until_it_changes(
    pay_database: Database, trade_database: Database
) -> None:
    """As a payment of a shop that keeps its orders elsewhere; a refund of it is news."""
    async with shop(pay_database, trade_database) as both:
        books, found = Books(both), list[int | None]()
        await both.pay.fund("7", 2 * PRICE)
        orders = [await both.pay.order(number, "7", PRICE) for number in (1, 2)]
        for order in orders:
            await both.pay.attempt(order.id, "7")
        await both.told()
        periodic = schedule(books)

        async def run() -> None:
            await periodic.run_once()
            found.append(await found_last(pay_database, RECONCILE))

        acknowledged = await books.reconciler.acknowledge([1, 2, 3], "carol", "sold at the counter")
        await run()
        await both.pay.refund(orders[0].id, 40)
        await both.told()
        await run()
        withdrawn = await books.reconciler.acknowledgements.withdraw([2, 3], "dave")
        await run()

        assert [one.number for one in acknowledged] == [1, 2]
        assert withdrawn == [2]
        assert found == [0, 1, 2]
        assert [
            (one.who, one.action, one.selection, one.rows)
            for one in await list_actions(pay_database, ID_MAX, 9)
        ] == [
            ("dave", "withdraw acknowledgement", "reconcile", 1),
            ("carol", "acknowledge", "sold at the counter", 2),
        ]


async def test_what_a_run_has_no_room_for_is_republished_by_the_next(
    pay_database: Database, trade_database: Database
) -> None:
    """Nothing that republishing does not help keeps others from their turn."""
    async with shop(pay_database, trade_database) as both:
        books = Books(both)
        await paid_orders(both, range(1, 8))
        await both.told()
        periodic, runs = schedule(books, republished_max=3), list[set[str]]()

        for _ in range(4):
            await periodic.run_once()
            runs.append({str(one.headers["cloudEvents:id"]) for one in await both.told()})  # lost again

        assert [len(run) for run in runs] == [3, 3, 1, 3]
        assert len(set.union(*runs[:3])) == 7


async def test_the_service_reconciles_by_itself_one_process_at_a_time(
    pay_database: Database, trade_database: Database
) -> None:
    async with shop(pay_database, trade_database) as both:
        books = Books(both)
        await paid_orders(both, range(1, 6))
        await both.told()  # lost
        several = [
            PeriodicReconciler(
                books.reconciler,
                books.pay,
                books.clock,
                period_seconds=60,
                window_seconds=10**9,
            )
            for _ in range(4)
        ]

        await asyncio.gather(*(one.run_once() for one in several))

        republished = await both.told()
        assert len({message.headers["cloudEvents:id"] for message in republished}) == len(republished) == 5
        assert await found_last(pay_database, RECONCILE) == 5
        await both.take(*republished)
        assert set((await both.statuses()).values()) == {"PAID"}
