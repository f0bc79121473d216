"""What operators read of attempts: which need a person and why, and what became of one, moment by moment."""

import re
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
import structlog
from elsewhere import Shop, Windows, opened_shop
from msgspec import structs
from prometheus import OPS
from support import connected
from wallets import wallet_service

from paybell.channels import store
from paybell.channels.answers import Paid
from paybell.channels.attempt import Attempt, AttemptState
from paybell.channels.errors import NothingAsked, NothingToSettle, ReceiptTaken, SecondPersonNeeded
from paybell.channels.http import ChannelHttp
from paybell.channels.inspection import Inspection, Need
from paybell.channels.legacy_wallet import LegacyWallet
from paybell.channels.returns import ReturnState
from paybell.channels.settling import Settlement
from paybell.ids import ID_MAX
from paybell.pay.model import PayOrder

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def shop(pay_url: str) -> AsyncIterator[Shop]:
    """A shop with windows, and with a wallet that can be asked nothing."""
    async with (
        wallet_service() as (_, between, url),
        ChannelHttp.open() as http,
        opened_shop(pay_url, [Windows(), LegacyWallet(http, url)]) as opened,
    ):
        between.faults = ["lost"] * 10
        yield opened


async def found(shop: Shop, need: Need | None, state: AttemptState | None = None) -> list[int]:
    """Return the ids on a list."""
    inspection = Inspection(shop.side.database, shop.clock)
    return [one.id for one, _ in await inspection.list(need, state, ID_MAX, 10)]


async def counts(shop: Shop) -> list[int]:
    """Return how many there are by reason, the most urgent first."""
    needs = await Inspection(shop.side.database, shop.clock).counts()
    return [needs[need] for need in Need]


async def manual(shop: Shop, number: int) -> Attempt:
    """Make an attempt of which nobody knows anything."""
    order = await shop.order(number)
    assert isinstance(await shop.pay(order), PayOrder)
    (attempt,) = await shop.attempts(order)
    assert attempt.state is AttemptState.MANUAL
    return attempt


async def test_each_need_has_its_list_and_its_number(shop: Shop) -> None:
    windows = shop.lines["windows"].channel
    assert isinstance(windows, Windows)
    by_hand, silent = await manual(shop, 1), await shop.open(await shop.order(2))
    assert await counts(shop) == [1, 0, 0, 0, 0, 0]

    windows.deaf = True
    await shop.chase(570 + 601)  # its end, and ten minutes more
    young = await shop.open(await shop.order(3))

    assert await found(shop, Need.IN_DOUBT) == [silent.id]
    assert await found(shop, Need.MANUAL) == [by_hand.id]
    assert await found(shop, Need.MANUAL, AttemptState.OPEN) == []
    assert await found(shop, None, AttemptState.OPEN) == [young.id, silent.id]
    assert await counts(shop) == [1, 0, 0, 1, 0, 0]


async def test_money_that_came_late_is_listed_until_it_has_gone_back(shop: Shop) -> None:
    windows = shop.lines["windows"].channel
    assert isinstance(windows, Windows)
    order = await shop.order(1)
    attempt = await shop.open(order)
    await shop.chase(600)
    await shop.close(order)
    assert windows.buyer_pays(attempt, after_close=True)
    await shop.notify(attempt)

    assert await found(shop, Need.GIVING_BACK) == [attempt.id]
    await shop.send_back()
    assert await counts(shop) == [0, 0, 0, 0, 0, 0]
    case = await Inspection(shop.side.database, shop.clock).read(attempt.id)
    assert [one.what for one in case.history] == [
        "PREPARED", "SENT", "OPEN", "CLOSED", "LATE_SUCCESS", "return_succeeded",
    ]  # fmt: skip


async def alarmed(shop: Shop) -> set[str]:
    """Return the states in the metric of attempts now at which the alert rule's expression is true."""
    rule = re.search(r'paybell_attempts\{state=~"([^"]+)"\}\) > 0', (OPS / "alerts.yml").read_text())
    assert rule is not None
    live = await store.count_live(shop.side.database)
    return {state for _, state, count in live if count > 0 and re.fullmatch(rule[1], state)}


async def test_what_a_channel_refuses_to_give_back_is_settled_by_two_people(shop: Shop, pay_url: str) -> None:
    windows = shop.lines["windows"].channel
    assert isinstance(windows, Windows)
    order = await shop.order(1)
    attempt = await shop.open(order)
    await shop.chase(600)
    await shop.close(order)
    windows.buyer_pays(attempt, after_close=True)
    await shop.notify(attempt)
    given_back = Settlement("given_back", "bank-7", "by bank, 4 May", "ann")
    with pytest.raises(NothingToSettle):  # it is on its way by itself
        await shop.settling.settle(attempt.id, given_back)
    windows.keeps = True
    assert await alarmed(shop) == set()
    await shop.send_back()
    assert await alarmed(shop) == {"NOT_GIVEN_BACK"}
    assert await found(shop, Need.GIVING_BACK) == []
    assert await found(shop, Need.NOT_GIVEN_BACK) == [attempt.id]
    async with connected(pay_url) as rows:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="stays as it is"):
            await rows.execute("UPDATE channel_refunds SET state = 'SUCCEEDED'")

    shop.clock.advance(1)
    assert not (await shop.settling.settle(attempt.id, given_back))[1]
    with pytest.raises(SecondPersonNeeded):
        await shop.settling.settle(attempt.id, given_back)
    assert await counts(shop) == [0, 1, 0, 0, 0, 0]
    shop.clock.advance(1)
    assert (await shop.settling.settle(attempt.id, structs.replace(given_back, who="ben")))[1]

    assert await alarmed(shop) == set()
    assert await counts(shop) == [0, 0, 0, 0, 0, 0]
    assert await shop.faults() == []
    case = await Inspection(shop.side.database, shop.clock).read(attempt.id)
    assert case.given_back is ReturnState.SUCCEEDED
    assert [(one.what, one.who) for one in case.history[-3:]] == [
        ("asked", "ann"), ("confirmed", "ben"), ("return_succeeded", ""),
    ]  # fmt: skip
    assert case.history[-1].words == "by_hand · the channel had refused: ABNORMAL the account is closed"


async def test_what_was_not_asked_for_is_listed_and_a_persons_in_the_end(shop: Shop) -> None:
    windows = shop.lines["windows"].channel
    assert isinstance(windows, Windows)
    attempt = await shop.open(await shop.order(1))
    windows.buyer_pays(attempt)
    windows.paid[str(attempt.id)] = 99

    await shop.notify(attempt)
    await shop.chase()
    assert await counts(shop) == [0, 0, 1, 0, 0, 0]
    assert ("windows", "DIFFERS", 1) in await store.count_live(shop.side.database)
    assert await alarmed(shop) == {"DIFFERS"}
    assert await found(shop, Need.DIFFERS) == [attempt.id]
    await shop.chase(8 * 86_400)  # longer than a channel may say so
    assert await counts(shop) == [1, 0, 1, 0, 0, 0]
    case = await Inspection(shop.side.database, shop.clock).read(attempt.id)
    assert [one.what for one in case.history] == ["PREPARED", "SENT", "OPEN", "differs", "MANUAL"]
    assert "99 CNY" in case.history[3].words

    for who in ("ann", "ben"):
        await shop.settling.settle(attempt.id, Settlement("not_paid", "", "an error of theirs", who))
    assert await counts(shop) == [0, 0, 0, 0, 0, 0]


async def test_a_receipt_that_a_channel_says_of_two_attempts_pays_one_and_a_person_looks_at_the_other(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = shop.lines["windows"].channel
    assert isinstance(windows, Windows)
    attempts = [await shop.open(await shop.order(number)) for number in (1, 2)]
    for attempt in attempts:
        windows.buyer_pays(attempt)
    monkeypatch.setattr(windows, "_paid", lambda _: Paid(100, "CNY", "tx-of-both", windows.merchant))

    with structlog.testing.capture_logs() as logs:
        for attempt in attempts:
            await shop.notify(attempt)

    assert [(line["event"], line["attempt_id"]) for line in logs if line["log_level"] == "error"] == [
        ("receipt_claimed_twice", attempts[1].id)
    ]
    states = [
        one.state
        for attempt in attempts
        for one in await store.of_pay_order(shop.side.database, attempt.pay_order_id)
    ]
    assert states == [AttemptState.SUCCEEDED, AttemptState.OPEN]
    assert await found(shop, Need.DIFFERS) == [attempts[1].id]
    assert await shop.faults() == []


async def test_a_history_says_who_asked_withdrew_and_confirmed(shop: Shop, pay_url: str) -> None:
    attempt = await manual(shop, 1)
    shop.clock.advance(1)
    await shop.settling.settle(attempt.id, Settlement("paid", "8812", "page 4", "ann"))
    shop.clock.advance(1)
    await shop.settling.withdraw(attempt.id, "ben")
    with pytest.raises(NothingAsked):
        await shop.settling.withdraw(attempt.id, "ben")
    shop.clock.advance(1)
    await shop.settling.settle(attempt.id, Settlement("not_paid", "", "page 5", "ben"))
    shop.clock.advance(1)
    await shop.settling.settle(attempt.id, Settlement("not_paid", "", "page 5, too", "ann"))
    with pytest.raises(NothingAsked):
        await shop.settling.withdraw(attempt.id, "ben")

    case = await Inspection(shop.side.database, shop.clock).read(attempt.id)
    assert [(one.what, one.who) for one in case.history] == [
        ("PREPARED", ""),
        ("SENT", ""),
        ("MANUAL", ""),
        ("asked", "ann"),
        ("withdrawn", "ben"),
        ("asked", "ben"),
        ("confirmed", "ann"),
        ("REFUSED", ""),
    ]
    assert case.history[3].words == "paid · 8812 · page 4"
    assert case.statement is not None
    assert (case.statement.asked_by, case.statement.confirmed_by) == ("ben", "ann")
    async with connected(pay_url) as rows:
        for change in ("UPDATE attempt_moves SET state = 'PAID'", "DELETE FROM attempt_moves"):
            with pytest.raises(asyncpg.PostgresError, match="append-only"):
                await rows.execute(change)


async def test_one_number_of_a_channel_settles_one_attempt(shop: Shop) -> None:
    """Whoever types the number of another payment is told, and nothing is settled."""
    first, second = await manual(shop, 1), await manual(shop, 2)
    for who in ("ann", "ben"):
        await shop.settling.settle(first.id, Settlement("paid", "8812", "page 4", who))
    await shop.settling.settle(second.id, Settlement("paid", "8812", "page 4", "ann"))
    with pytest.raises(ReceiptTaken):
        await shop.settling.settle(second.id, Settlement("paid", "8812", "page 4", "ben"))

    assert await found(shop, Need.MANUAL) == [second.id]
