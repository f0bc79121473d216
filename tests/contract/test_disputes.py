"""Disputes: what a channel says of them is kept, shown and alarmed; nothing is booked."""

from collections.abc import AsyncIterator

import pytest
from elsewhere import Shop, Windows, opened_shop
from support import connected

from paybell.channels.attempt import Attempt
from paybell.channels.inspection import Inspection, Need
from paybell.ids import ID_MAX


@pytest.fixture
async def shop(pay_url: str) -> AsyncIterator[Shop]:
    async with opened_shop(pay_url, [Windows()]) as one:
        yield one


async def paid(shop: Shop) -> Attempt:
    """Return an attempt by which an order was paid."""
    order = await shop.order(1)
    attempt = await shop.open(order)
    windows = shop.lines["windows"].channel
    assert isinstance(windows, Windows)
    windows.buyer_pays(attempt)
    await shop.notify(attempt)
    assert await shop.states(order) == ["SUCCEEDED"]
    return attempt


async def disputed(shop: Shop) -> list[int]:
    """Return the ids on the list."""
    inspection = Inspection(shop.side.database, shop.clock)
    found = [one.id for one, _ in await inspection.list(Need.DISPUTED, None, ID_MAX, 10)]
    assert (await inspection.counts())[Need.DISPUTED] == len(found)
    return found


async def test_a_dispute_is_listed_until_it_is_closed_and_moves_no_money(shop: Shop) -> None:
    attempt = await paid(shop)
    for _ in range(2):
        assert (await shop.notify(attempt, "needs_response")).body == b"success"
    assert await disputed(shop) == [attempt.id]
    shop.clock.advance(60)
    assert (await shop.notify(attempt, "lost")).body == b"success"

    assert await disputed(shop) == []
    history = (await Inspection(shop.side.database, shop.clock).read(attempt.id)).history
    assert [(one.what, one.words) for one in history[-2:]] == [
        ("disputed", f"dp-{attempt.id} · fraudulent · 100 CNY"),
        ("dispute_closed", f"dp-{attempt.id} · lost"),
    ]
    assert await shop.faults() == []


async def test_a_dispute_that_is_closed_is_not_opened_by_an_older_notice(shop: Shop, pay_url: str) -> None:
    attempt = await paid(shop)
    await shop.notify(attempt, "lost")
    await shop.notify(attempt, "needs_response")

    assert await disputed(shop) == []
    async with connected(pay_url) as rows:
        with pytest.raises(Exception, match="a dispute that is closed stays"):
            await rows.execute("UPDATE channel_disputes SET closed_at = NULL")


async def test_a_dispute_about_a_payment_that_is_not_ours_is_taken_and_kept_nowhere(shop: Shop) -> None:
    attempt = await shop.open(await shop.order(1))

    assert (await shop.notify(attempt, "needs_response")).body == b"success"
    assert await disputed(shop) == []
