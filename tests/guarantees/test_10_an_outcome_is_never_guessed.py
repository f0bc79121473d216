"""Guarantee 10: an attempt's outcome is never guessed, whatever the channel does and wherever we die."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import asyncpg
import pytest
from crashing import every_step
from elsewhere import Shop, Windows, opened_shop
from support import codes, connected, payment, until
from wallets import PASSWORD, wallet_service

from paybell.channels.answers import Paid
from paybell.channels.attempt import MOVES, AttemptState
from paybell.channels.channel import Kind
from paybell.channels.circuit import CALLS_MAX
from paybell.channels.errors import ChannelUnavailable, SecondPersonNeeded
from paybell.channels.http import ChannelHttp
from paybell.channels.legacy_wallet import LegacyWallet
from paybell.channels.settling import Settlement
from paybell.channels.wallet import RemoteWallet
from paybell.errors import AttemptNotFinal, PaybellError
from paybell.pay.model import PayOrder
from paybell.pay.overdue import OverdueCloser
from paybell.pay.status import PayStatus
from paybell.storage import Query
from paybell.testing import FrozenClock

ROUND = timedelta(hours=1)
# What the process dies of, and what goes wrong between it and the wallet.
STAGES = [("pay", ""), ("chase", "lost"), ("chase", "fails"), ("send back", "")]
FUNDS = 1_000_000


@asynccontextmanager
async def opened(url: str, wallet_url: str, number: int) -> AsyncIterator[Shop]:
    """Open everything as a process does; each round has an hour and ids of its own."""
    clock = FrozenClock(datetime(2026, 1, 1, tzinfo=UTC) + number * ROUND)
    async with ChannelHttp.open() as http:
        channel = RemoteWallet(http, wallet_url)
        async with opened_shop(url, [channel], clock=clock, first_id=1000 * number + 1) as shop:
            yield shop


@asynccontextmanager
async def dying(
    number: int, url: str, wallet_url: str, stage: str
) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Yield what the process will die of: paying, finding out what has become of it, or giving back."""
    async with opened(url, wallet_url, number) as shop:
        order = await shop.order(number)  # Alice's, of 100
        if stage == "chase":
            await shop.pay(order)
            yield shop.chase
        elif stage == "send back":
            await shop.pay(order)
            await shop.side.refund(order.id, 40)
            yield shop.send_back
        else:
            yield partial(shop.pay, order)


async def gone(url: str) -> bool:
    """Say whether the server has noticed that the dead process's sessions are nobody's."""
    async with connected(url) as rows:
        return not await rows.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "fault"), STAGES)
async def test_killed_at_any_step_of_an_attempt_both_books_say_the_same(
    stage: str, fault: str, pay_url: str
) -> None:
    steps = 0
    async with wallet_service() as (wallet, between, wallet_url):
        wallet.open("alice", PASSWORD, FUNDS)
        between.faults = [fault]
        async for step in every_step(dying, pay_url, wallet_url, stage):
            await until(partial(gone, pay_url))
            async with opened(pay_url, wallet_url, step) as shop:
                await shop.chase(1000)
                await shop.send_back(1000)
                live = await shop.side.database.fetch(
                    Query(
                        "SELECT 1 FROM attempts WHERE next_query_at IS NOT NULL OR state = 'MANUAL' "
                        "UNION ALL SELECT 1 FROM channel_refunds WHERE state <> 'SUCCEEDED'"
                    )
                )
                paid = await shop.side.database.fetch_one(
                    Query(
                        "SELECT coalesce(sum(amount - refunded_amount), 0)::bigint AS amount "
                        "FROM pay_orders WHERE status = 3"
                    )
                )
                assert paid is not None
                assert live == []
                assert paid["amount"] == FUNDS - wallet.balance("alice"), f"step {step}"
                assert await shop.faults() == []
            between.faults = [fault]
            steps = step
    assert steps > 5, "there is no step to die at"


@pytest.fixture
async def shop(pay_url: str) -> AsyncIterator[Shop]:
    async with opened_shop(pay_url, [Windows()]) as one:
        yield one


def windows_of(shop: Shop, name: str = "windows") -> Windows:
    channel = shop.lines[name].channel
    assert isinstance(channel, Windows)
    return channel


async def test_a_window_is_closed_at_its_end_and_only_then_its_order(shop: Shop) -> None:
    order = await shop.order(1, ttl_seconds=60)
    attempt = await shop.open(order)
    assert (attempt.state, attempt.qr_code) == (AttemptState.OPEN, f"pay:{attempt.id}")
    assert (await shop.open(order)).id == attempt.id
    windows_of(shop).deaf = True
    with pytest.raises(AttemptNotFinal):
        await shop.close(order)
    closer = OverdueCloser(shop.side.database, shop.side.outbox)

    await shop.chase(3600)
    assert await closer.run_once() == 0
    assert await shop.states(order) == ["OPEN"]
    windows_of(shop).deaf = False
    await shop.chase(86_400)
    assert await shop.states(order) == ["CLOSED"]
    assert await closer.run_once() == 1
    assert (await shop.read(order)).status is PayStatus.TRADE_CLOSED
    assert await shop.faults() == []


async def test_a_window_whose_answer_was_lost_is_the_same_window_when_it_is_opened_again(shop: Shop) -> None:
    order = await shop.order(1)
    windows_of(shop).answers_lost = 1
    lost = await shop.open(order)
    assert (lost.state, lost.qr_code) == (AttemptState.UNKNOWN, "")
    await shop.chase(10)
    assert await shop.states(order) == ["OPEN"]
    again = await shop.open(order)
    assert (again.id, again.state, again.qr_code) == (lost.id, AttemptState.OPEN, f"pay:{lost.id}")
    assert len(windows_of(shop).amounts) == 1


async def test_a_balance_of_our_own_may_pay_while_a_window_is_open_which_is_closed_then(shop: Shop) -> None:
    await shop.side.fund("alice", 1000)
    order = await shop.order(1)
    await shop.open(order)
    windows_of(shop).deaf = True
    assert isinstance(await shop.side.attempt(order.id, "alice"), PayOrder)
    assert await shop.states(order) != ["CLOSED"]

    windows_of(shop).deaf = False
    await shop.chase()
    assert await shop.states(order) == ["CLOSED"]
    paid = await shop.read(order)
    assert (paid.status, paid.channel) == (PayStatus.TRADE_SUCCESS, "balance")
    assert await shop.faults() == []


async def test_no_balance_of_our_own_pays_or_closes_what_may_be_paid_by_a_call(pay_url: str) -> None:
    """Also where the settings were changed in between: the order's own row knows."""
    async with opened_shop(pay_url, [Windows("call", Kind.CALL, schedule=(60.0,))]) as shop:
        await shop.side.fund("alice", 1000)
        orders = [await shop.order(number) for number in (1, 2)]
        windows_of(shop, "call").answers_lost = 1
        await shop.service.open(orders[0].id, "alice", "call", "")
        outcomes = await shop.side.pay.settle_batch([payment(order.id, "alice") for order in orders])

        assert codes(outcomes) == ["attempt_not_final", "paid"]
        assert await shop.side.balance("alice") == 900
        with pytest.raises(AttemptNotFinal):
            await shop.close(orders[0])


async def test_a_channel_that_hangs_holds_up_neither_balances_nor_other_channels(pay_url: str) -> None:
    """It has so many calls and no session of the database; whoever comes after those is refused at once."""
    gate = asyncio.Event()
    async with opened_shop(pay_url, [Windows(gate=gate), Windows("others")]) as shop:
        await shop.side.fund("alice", 1000)
        orders = [await shop.order(number, 1) for number in range(1, CALLS_MAX + 7)]
        hanging = [asyncio.create_task(shop.open(order)) for order in orders[:-6]]

        async def all_asked() -> bool:
            return len(windows_of(shop).amounts) == CALLS_MAX

        await until(all_asked)
        with pytest.raises(ChannelUnavailable):
            await shop.open(orders[-1])
        assert (await shop.open(orders[-2], "others")).state is AttemptState.OPEN
        paid = await asyncio.gather(*(shop.side.attempt(order.id, "alice") for order in orders[-4:]))
        assert codes(paid) == ["paid"] * 4
        gate.set()
        assert {one.state for one in await asyncio.gather(*hanging)} == {AttemptState.OPEN}


@pytest.mark.parametrize("words", ["forged", ""])
async def test_a_notice_that_is_not_signed_changes_nothing(shop: Shop, words: str) -> None:
    order = await shop.order(1)
    attempt = await shop.open(order)
    windows_of(shop).buyer_pays(attempt)

    assert (await shop.notify(attempt, words)).body == b"fail"
    assert (await shop.read(order)).status is PayStatus.WAIT_BUYER_PAY
    for _ in range(2):
        assert (await shop.notify(attempt)).body == b"success"
    paid = await shop.read(order)
    assert (paid.status, paid.version, paid.channel) == (PayStatus.TRADE_SUCCESS, 2, "windows")
    assert await shop.faults() == []


async def test_another_amount_is_never_taken_for_a_payment(shop: Shop) -> None:
    order = await shop.order(1)
    attempt = await shop.open(order)
    windows_of(shop).buyer_pays(attempt)
    windows_of(shop).paid[str(attempt.id)] = 99

    assert (await shop.notify(attempt)).body == b"success"
    await shop.chase()
    assert (await shop.read(order)).status is PayStatus.WAIT_BUYER_PAY
    assert await shop.states(order) == ["OPEN"]


@pytest.mark.parametrize("number", ["", "x" * 256, "tx\0", "tx\ud800"], ids=["none", "long", "NUL", "half"])
async def test_a_receipt_that_nobody_could_keep_is_doubt_and_no_fault_of_ours(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    """The order waits for a word that is certain; what else the channel says about it is harmless, too."""
    order = await shop.order(1)
    channel = shop.lines["windows"].channel
    assert isinstance(channel, Windows)
    attempt = await shop.open(order)
    assert channel.buyer_pays(attempt)
    with monkeypatch.context() as patch:
        patch.setattr(Windows, "_paid", lambda *_: Paid(100, "CNY", number, "shop"))
        await shop.chase()
        assert await shop.states(order) == ["OPEN"]
        patch.setattr(Windows, "_paid", lambda *_: Paid(100, f"CN{number}", "tx", "shop"))
        await shop.chase()
        assert await shop.states(order) == ["OPEN"]

    await shop.notify(attempt)
    assert await shop.states(order) == ["SUCCEEDED"]
    assert await shop.faults() == []


async def test_what_a_wallet_without_ids_leaves_in_doubt_waits_for_two_people(pay_url: str) -> None:
    """One call, whatever it comes to; then nobody pays this order until two people have said what was."""
    async with (
        wallet_service() as (_, between, url),
        ChannelHttp.open() as http,
        opened_shop(pay_url, [LegacyWallet(http, url)]) as shop,
    ):
        paid, unpaid = await shop.order(1), await shop.order(2)
        for order in (paid, unpaid):
            between.faults = ["lost"]
            assert isinstance(await shop.pay(order), PayOrder)
            assert isinstance(await shop.pay(order), PayOrder)
            assert await shop.states(order) == ["MANUAL"]
        await shop.chase(86_400)
        assert len(between.seen) == 2
        outcomes = {paid.id: "paid", unpaid.id: "not_paid"}
        for order in (paid, unpaid):
            (attempt,) = await shop.attempts(order)
            first = Settlement(outcomes[order.id], "", "row 8812", "ann")
            assert not (await shop.settling.settle(attempt.id, first))[1]
            with pytest.raises(SecondPersonNeeded):
                await shop.settling.settle(attempt.id, first)
            assert await shop.states(order) == ["MANUAL"]
            second = Settlement(outcomes[order.id], "", "I looked, too", "ben")
            assert (await shop.settling.settle(attempt.id, second))[1]
        assert (await shop.read(paid)).status is PayStatus.TRADE_SUCCESS
        assert (await shop.close(unpaid)).status is PayStatus.TRADE_CLOSED
        await shop.side.refund(paid.id, 40)
        await shop.send_back()
        (refund,) = (await shop.side.refunds.find(paid.id, "1"))[1]
        assert (refund.status, (await shop.read(paid)).refunded_amount) == ("FAILED", 0)
        assert await shop.faults() == []


async def test_the_database_itself_refuses_one_person_and_moves_there_are_not(
    pay_url: str, shop: Shop
) -> None:
    attempt = await shop.open(await shop.order(1))
    async with connected(pay_url) as rows:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="two people settle"):
            await rows.execute(
                "UPDATE attempts SET state = 'REFUSED', next_query_at = NULL, code = 'by_hand' WHERE id = $1",
                attempt.id,
            )
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="does not become"):
            await rows.execute("UPDATE attempts SET state = 'PREPARED' WHERE id = $1", attempt.id)
        with pytest.raises(asyncpg.CheckViolationError):
            await rows.execute(
                "INSERT INTO attempt_settlements (attempt_id, outcome, reference, note, asked_by, asked_at, "
                "confirmed_by, confirmed_at) VALUES ($1, 'paid', '', 'n', 'ann', now(), 'ann', now())",
                attempt.id,
            )
        legal = {state: set(moves) for state, moves in MOVES.items()}
        assert legal[AttemptState.OPEN] >= {AttemptState.SUCCEEDED, AttemptState.CLOSED}


async def test_only_one_that_may_be_moving_money_at_a_time(pay_url: str) -> None:
    """Two processes, two channels that move money: one of them goes on, the other is refused."""
    first, second = Windows("first", Kind.CALL, schedule=(60.0,)), Windows("second", Kind.CALL)
    async with opened_shop(pay_url, [first, second]) as shop:
        order = await shop.order(1)
        answers = await asyncio.gather(
            *(shop.service.open(order.id, "alice", name, "") for name in ("first", "second") * 5),
            return_exceptions=True,
        )
        refused = [one for one in answers if isinstance(one, PaybellError)]
        assert {one.code for one in refused} <= {"attempt_not_final", "busy"}
        assert len(first.amounts) + len(second.amounts) == 1
