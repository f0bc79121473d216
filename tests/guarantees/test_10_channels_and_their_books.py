"""Guarantees 10 and 11 over real wire formats: what a channel's books hold of us, our ledger says too."""

import random
from collections.abc import AsyncIterator

import pytest
from elsewhere import BUYER, Shop, opened_shop
from stages import STAGES, Stage
from support import seeded

from paybell.channels.attempt import Attempt, AttemptState
from paybell.errors import PaybellError
from paybell.pay.model import PayOrder
from paybell.pay.status import PayStatus
from paybell.sandbox.books import NotPossible
from paybell.sandbox.faults import Fault, Operation
from paybell.testing import FrozenClock

HOURS_2 = 7200
ORDERS = 12


class Counter:
    """A shop whose buyers pay by one channel, and that channel's other side."""

    def __init__(self, shop: Shop, stage: Stage) -> None:
        self.shop, self.stage = shop, stage
        self._seen = 0

    async def order(self, number: int, amount: int = 1177) -> PayOrder:
        """Apply for one of the buyer's orders."""
        return await self.shop.order(number, amount, HOURS_2)

    async def open(self, order: PayOrder) -> Attempt:
        """Open a window."""
        return await self.shop.open(order, self.stage.name)

    def scan(self, attempt: Attempt) -> None:
        """Let the buyer look at it."""
        trade = self.stage.simulator.books.find(str(attempt.id))
        assert trade is not None
        trade.known = True

    def pay(self, attempt: Attempt) -> bool:
        """Let the buyer pay; say whether it was possible."""
        trade = self.stage.simulator.books.find(str(attempt.id))
        if trade is None:
            return False
        try:
            self.stage.simulator.pay(trade)
        except NotPossible:
            return False
        return True

    async def take_notices(self) -> int:
        """Give the shop what came since; return how many."""
        new = (await self.stage.heard())[self._seen :]
        self._seen += len(new)
        for notice in new:
            await self.shop.take_notice(self.stage.name, notice.headers, notice.body)
        return len(new)

    def there(self) -> dict[str, tuple[int, int]]:
        """Return by attempt what was really paid and what really went back."""
        moved = self.stage.simulator.books.moved()
        return {number: (int(one["paid"]), int(one["refunded"])) for number, one in moved.items()}


@pytest.fixture(params=STAGES, ids=lambda stage: str(stage.name))
async def counter(request: pytest.FixtureRequest, pay_url: str) -> AsyncIterator[Counter]:
    clock = FrozenClock()
    async with (
        request.param(clock).running() as stage,
        opened_shop(pay_url, [stage.channel], clock=clock, notify_url=stage.notify_url) as shop,
    ):
        yield Counter(shop, stage)


async def test_a_notice_pays_the_order_once(counter: Counter) -> None:
    order = await counter.order(1)
    attempt = await counter.open(order)
    assert attempt.qr_code or attempt.redirect_url
    counter.stage.fault(Operation.NOTICE, Fault.DUPLICATE)
    assert counter.pay(attempt)
    assert await counter.take_notices() == 2

    after = await counter.shop.read(order)
    assert (after.status, after.channel) == (PayStatus.TRADE_SUCCESS, counter.stage.name)
    assert await counter.shop.states(order) == ["SUCCEEDED"]
    assert await counter.shop.faults() == []


async def test_without_any_notice_the_order_is_paid_all_the_same(counter: Counter) -> None:
    order = await counter.order(1)
    attempt = await counter.open(order)
    counter.stage.fault(Operation.NOTICE, Fault.DROP)
    assert counter.pay(attempt)

    await counter.shop.chase()
    assert await counter.shop.states(order) == ["SUCCEEDED"]


async def test_an_order_that_nobody_paid_is_closed_there_too(counter: Counter) -> None:
    order = await counter.order(1)
    attempt = await counter.open(order)
    counter.scan(attempt)
    await counter.shop.chase(HOURS_2)
    await counter.shop.chase()

    assert await counter.shop.states(order) == ["CLOSED"]
    assert not counter.pay(attempt)


async def test_who_pays_by_balance_cannot_pay_there_any_more(counter: Counter) -> None:
    await counter.shop.side.fund(BUYER, 2000)
    order = await counter.order(1)
    attempt = await counter.open(order)
    counter.scan(attempt)
    assert isinstance(await counter.shop.side.attempt(order.id, BUYER), PayOrder)

    assert await counter.shop.states(order) == ["CLOSED"]
    assert not counter.pay(attempt)
    assert (await counter.shop.read(order)).channel == "balance"


async def test_a_buyer_who_pays_while_the_order_ends_gets_it_or_the_money_back(counter: Counter) -> None:
    order = await counter.order(1)
    attempt = await counter.open(order)
    counter.scan(attempt)
    counter.stage.fault(Operation.CLOSE, Fault.PAY_MEANWHILE)
    counter.shop.clock.advance(HOURS_2 - 60)
    await counter.shop.chase(31)
    for _ in range(3):
        await counter.shop.chase()
        await counter.shop.send_back()
        await counter.take_notices()

    paid, back = counter.there()[str(attempt.id)]
    won = (await counter.shop.read(order)).status is PayStatus.TRADE_SUCCESS
    assert paid - back == (1177 if won else 0)
    assert await counter.shop.faults() == []


async def test_a_refund_goes_back_by_the_channel_and_counts_when_it_has_arrived(counter: Counter) -> None:
    order = await counter.order(1)
    attempt = await counter.open(order)
    assert counter.pay(attempt)
    await counter.take_notices()
    for operation in (Operation.REFUND, Operation.QUERY_REFUND):
        counter.stage.fault(operation, Fault.LOSE_ANSWER)
    await counter.shop.side.refund(order.id, 100)
    assert (await counter.shop.read(order)).refunded_amount == 0
    for _ in range(4):
        await counter.shop.send_back(2000)

    assert (await counter.shop.read(order)).refunded_amount == 100
    assert counter.there()[str(attempt.id)] == (1177, 100)
    assert await counter.shop.faults() == []


async def test_with_every_fault_on_for_a_third_of_all_both_books_agree(counter: Counter) -> None:
    """Nothing is guessed: each attempt ends as the channel's books say, and no money is lost or doubled."""
    choice = seeded()
    seed = choice.randrange(2**32)
    counter.stage.simulator.faults.scatter(0.33, seed)
    orders = [await counter.order(number, number) for number in range(1, ORDERS + 1)]
    for order in orders:
        await _open_and_perhaps_pay(counter, order, choice)
    for _ in range(6):
        await counter.shop.chase(60)
        await counter.take_notices()
    counter.stage.simulator.faults.clear()
    counter.shop.clock.advance(HOURS_2)
    for _ in range(8):
        await counter.shop.chase(1200)
        await counter.take_notices()
        await counter.shop.send_back(1200)

    there = counter.there()
    for order in orders:
        attempts = await counter.shop.attempts(order)
        assert all(not one.live for one in attempts), (seed, attempts)
        kept = sum(paid - back for paid, back in (there.get(str(one.id), (0, 0)) for one in attempts))
        paid = (await counter.shop.read(order)).status is PayStatus.TRADE_SUCCESS
        assert kept == (order.amount if paid else 0), (seed, order, attempts)
        for one in attempts:
            received = one.state in {AttemptState.SUCCEEDED, AttemptState.LATE_SUCCESS}
            assert received == bool(there.get(str(one.id), (0, 0))[0]), (seed, one)
    assert await counter.shop.faults() == []


async def _open_and_perhaps_pay(counter: Counter, order: PayOrder, choice: random.Random) -> None:
    try:
        attempt = await counter.open(order)
    except PaybellError:
        return
    if choice.random() < 0.7:
        counter.pay(attempt)
