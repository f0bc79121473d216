"""A flood of notices is turned away as its channel expects, and costs nobody else anything."""

import asyncio
from collections import Counter
from collections.abc import Mapping

from elsewhere import Windows, opened_shop
from support import payment

from paybell.channels.channel import Heard, Notice, NoticeAnswer
from paybell.channels.notice_gate import REFUSED_MAX, UNDER_WAY_MAX
from paybell.pay.status import PayStatus
from paybell.telemetry.observers import NoticeObserver
from paybell.testing import FrozenClock

FLOOD = 2_000
TAKEN, COMES_AGAIN = NoticeAnswer(200, b"success"), NoticeAnswer(500, b"fail")


class Counting(Windows):
    """Counts how many notices it was given to verify."""

    verified = 0

    def read_notice(self, notice: Notice) -> Heard:
        """Count, and read."""
        self.verified += 1
        return super().read_notice(notice)


class Counted(NoticeObserver):
    """Counts what was done with notices."""

    def __init__(self) -> None:
        self.notices: Counter[str] = Counter()

    def noticed(self, outcome: str) -> None:
        """Count one."""
        self.notices[outcome] += 1


async def test_beside_a_flood_of_unsigned_notices_orders_are_paid_and_real_notices_come_through(
    pay_url: str,
) -> None:
    clock, flooded, other = FrozenClock(), Counting(), Windows(name="other")
    counted = Counted()
    async with opened_shop(pay_url, [flooded, other], clock=clock, observer=counted) as shop:
        await shop.side.fund("alice", 1000)
        orders = [await shop.order(number) for number in range(1, 4)]
        first, second = await shop.open(orders[0]), await shop.open(orders[1], "other")
        flooded.buyer_pays(first)
        other.buyer_pays(second)

        async def strange() -> NoticeAnswer:
            return await shop.take_notice("windows", NO_HEADERS, b"forged 1")

        flood = [asyncio.create_task(strange()) for _ in range(FLOOD)]
        await shop.side.pay.pay(payment(orders[2].id, "alice"))
        assert await shop.notify(second) == TAKEN
        assert set(await asyncio.gather(*flood)) == {COMES_AGAIN}
        assert flooded.verified == REFUSED_MAX
        # A real one within the flood's second is turned away as well, and comes again.
        assert await shop.notify(first) == COMES_AGAIN
        assert counted.notices == {"refused": REFUSED_MAX, "turned_away": FLOOD - REFUSED_MAX + 1, "taken": 1}
        clock.advance(1)
        assert await shop.notify(first) == TAKEN
        assert [(await shop.read(order)).status for order in orders] == [PayStatus.TRADE_SUCCESS] * 3


async def test_so_many_notices_of_a_channel_are_taken_at_a_time(pay_url: str) -> None:
    channel = Counting()
    async with opened_shop(pay_url, [channel]) as shop:
        attempts = [await shop.open(await shop.order(number)) for number in range(1, 3 * UNDER_WAY_MAX)]
        for one in attempts:
            channel.buyer_pays(one)
        answers = await asyncio.gather(*(shop.notify(one) for one in attempts))
        assert answers.count(TAKEN) >= UNDER_WAY_MAX
        assert answers.count(COMES_AGAIN) > 0
        for one in attempts:
            assert await shop.notify(one) == TAKEN


NO_HEADERS: Mapping[str, str] = {}
