"""Paying out of a remote wallet: every answer it may give, and every way an answer may be missing."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from elsewhere import Shop, opened_shop
from support import until
from wallet_service import Answer, Wallet
from wallets import PASSWORD, Between, wallet_service

from paybell.channels.attempt import AttemptState
from paybell.channels.channel import Charge
from paybell.channels.circuit import FAILURES_MAX, Circuit
from paybell.channels.conformance import Payer, WalletCheck
from paybell.channels.http import ChannelHttp
from paybell.channels.legacy_wallet import LegacyWallet
from paybell.channels.wallet import NAME, RemoteWallet
from paybell.diagnosis.remote_wallet import examine_wallet
from paybell.errors import AttemptNotFinal, PaybellError
from paybell.pay.model import PayOrder
from paybell.pay.overdue import OverdueCloser
from paybell.pay.status import PayStatus
from paybell.settings import read_settings
from paybell.storage import Query
from paybell.testing import FrozenClock
from paybell.testing.ports import free_port

pytestmark = pytest.mark.slow

ANSWERED = {"": "paid", "lost": "closed", "cut": "paid", "fails": "paid", "page": "closed", "half": "paid"}


@dataclass(frozen=True, slots=True)
class Remote:
    """The pay service, the wallet, and what stands between them."""

    shop: Shop
    wallet: Wallet
    between: Between
    channel: RemoteWallet


@pytest.fixture
async def remote(pay_url: str) -> AsyncIterator[Remote]:
    async with wallet_service() as (wallet, between, url), ChannelHttp.open() as http:
        wallet.open("alice", PASSWORD, 1000)
        channel = RemoteWallet(http, url)
        async with opened_shop(pay_url, [channel]) as shop:
            yield Remote(shop, wallet, between, channel)


async def test_a_payment_is_paid_at_once_with_its_event_and_from_the_channels_account(remote: Remote) -> None:
    shop = remote.shop
    order = await shop.order(1)
    paid = await shop.pay(order)

    assert isinstance(paid, PayOrder)
    assert (paid.status, paid.version, paid.channel) == (PayStatus.TRADE_SUCCESS, 2, "balance")
    assert remote.wallet.balance("alice") == 900
    events = await shop.side.database.fetch(Query("SELECT type, event_id FROM outbox"))
    assert [tuple(row) for row in events] == [("pay.success", f"{order.id}-2")]
    (attempt,) = await shop.attempts(order)
    assert attempt.state is AttemptState.SUCCEEDED
    assert await shop.faults() == []
    again = await shop.pay(order)
    assert isinstance(again, PayOrder)
    assert again.status is PayStatus.TRADE_SUCCESS
    assert remote.wallet.balance("alice") == 900


@pytest.mark.parametrize(
    ("password", "amount", "code"),
    [("wrong", 100, "wrong_pay_password"), (PASSWORD, 1001, "insufficient_balance")],
)
async def test_a_refusal_is_final_and_leaves_the_order_to_be_paid(
    remote: Remote, password: str, amount: int, code: str
) -> None:
    shop = remote.shop
    order = await shop.order(1, amount)
    refused = await shop.pay(order, password)

    assert isinstance(refused, PaybellError)
    assert refused.code == code
    assert (await shop.read(order)).status is PayStatus.WAIT_BUYER_PAY
    assert [one.state for one in await shop.attempts(order)] == [AttemptState.REFUSED]
    closed = await shop.close(order)
    assert closed.status is PayStatus.TRADE_CLOSED
    assert await shop.faults() == []


async def test_a_wallet_nobody_reaches_is_certainly_not_told(remote: Remote) -> None:
    shop = remote.shop
    order = await shop.order(1)
    url, remote.channel._url = remote.channel._url, "http://127.0.0.1:1"
    refused = await shop.pay(order)

    assert isinstance(refused, PaybellError)
    assert refused.code == "channel_unavailable"
    remote.channel._url = url
    paid = await shop.pay(order)
    assert isinstance(paid, PayOrder)
    assert paid.status is PayStatus.TRADE_SUCCESS


@pytest.mark.parametrize(("fault", "outcome"), ANSWERED.items())
async def test_what_is_in_doubt_is_queried_until_it_is_certain(
    remote: Remote, fault: str, outcome: str
) -> None:
    """Meanwhile nothing else pays or closes the order; what the wallet says is what counts."""
    shop = remote.shop
    order = await shop.order(1)
    remote.between.faults = [fault]
    answer = await shop.pay(order)

    assert isinstance(answer, PayOrder)
    if fault:
        assert answer.status is PayStatus.WAIT_BUYER_PAY
        with pytest.raises(AttemptNotFinal):
            await shop.close(order)
        again = await shop.pay(order)
        assert isinstance(again, PayOrder)
        assert len(await shop.attempts(order)) == 1
        assert len(remote.between.seen) == 1
        await shop.chase()
    paid = outcome == "paid"
    assert (await shop.read(order)).status is (PayStatus.TRADE_SUCCESS if paid else PayStatus.WAIT_BUYER_PAY)
    (attempt,) = await shop.attempts(order)
    assert attempt.state is (AttemptState.SUCCEEDED if paid else AttemptState.CLOSED)
    assert remote.wallet.balance("alice") == (900 if paid else 1000)
    assert await shop.faults() == []


async def test_a_debit_that_arrives_after_its_reversal_is_refused(remote: Remote) -> None:
    """The tombstone is what makes "never happened" final."""
    shop = remote.shop
    order = await shop.order(1)
    remote.between.faults = ["hangs"]
    paying = asyncio.create_task(shop.pay(order))
    await until(remote.between.is_asked)
    await shop.chase()
    assert [one.state for one in await shop.attempts(order)] == [AttemptState.CLOSED]

    remote.between.gate.set()
    late = await paying
    assert isinstance(late, PaybellError)
    assert remote.wallet.balance("alice") == 1000
    assert (await shop.read(order)).status is PayStatus.WAIT_BUYER_PAY
    assert await shop.faults() == []


async def test_an_order_in_doubt_stays_open_past_its_deadline_and_then_ends_as_the_wallet_says(
    remote: Remote,
) -> None:
    shop = remote.shop
    paid, closed = await shop.order(1, ttl_seconds=60), await shop.order(2, ttl_seconds=60)
    remote.between.faults = ["fails", "lost"]
    await shop.pay(paid)
    await shop.pay(closed)
    shop.clock.advance(3600)
    closer = OverdueCloser(shop.side.database, shop.side.outbox)

    assert await closer.run_once() == 0
    assert isinstance(await shop.pay(closed), PaybellError)
    await shop.chase()
    assert (await shop.read(paid)).status is PayStatus.TRADE_SUCCESS
    assert await closer.run_once() == 1
    assert (await shop.read(closed)).status is PayStatus.TRADE_CLOSED
    assert await shop.faults() == []


async def test_a_refund_goes_back_by_the_wallet_and_counts_when_it_has_arrived(remote: Remote) -> None:
    shop = remote.shop
    order = await shop.order(1)
    await shop.pay(order)
    await shop.fold()
    answer = await shop.side.refund(order.id, 40)

    assert isinstance(answer, dict)
    assert (answer["status"], answer["refundedAmount"], answer["version"]) == ("PENDING", 0, 2)
    over = await shop.side.refund(order.id, 61, "refund-2")
    assert isinstance(over, PaybellError)
    assert over.code == "refund_exceeds_payment"
    remote.between.faults = ["cut"]
    await shop.send_back()
    await shop.send_back()
    after = await shop.read(order)
    assert (after.refunded_amount, after.version) == (40, 3)
    assert remote.wallet.balance("alice") == 940
    (refund,) = (await shop.side.refunds.find(order.id, "1"))[1]
    assert refund.status == "SUCCEEDED"
    assert await shop.faults() == []


async def test_a_channel_that_is_away_refuses_at_once_and_its_attempts_wait(remote: Remote) -> None:
    shop = remote.shop
    orders = [await shop.order(number) for number in range(1, 8)]
    remote.between.faults = ["lost"] * 5
    for order in orders[:5]:
        await shop.pay(order)
    refused = await shop.pay(orders[5])

    assert isinstance(refused, PaybellError)
    assert refused.code == "channel_unavailable"
    assert await shop.attempts(orders[5]) == []
    shop.clock.advance(5)
    assert await shop.lines[NAME].chaser.run_once() == 0
    for _ in range(
        3
    ):  # waits have jitter, and what is asked while the channel comes back may be told to wait
        await shop.chase()
    states = [one.state for order in orders[:5] for one in await shop.attempts(order)]
    assert states == [AttemptState.CLOSED] * 5


async def broken(url: str) -> dict[str, str]:
    """Return the rules that a wallet breaks, and how."""
    async with ChannelHttp.open() as http:
        check = WalletCheck(http, url, "", Payer("alice", PASSWORD, "CNY"))
        return {one.rule: one.wrong async for one in check.run() if one.wrong}


async def test_the_reference_wallet_keeps_every_rule_of_the_contract(remote: Remote) -> None:
    assert await broken(remote.channel._url) == {}
    assert remote.wallet.balance("alice") == 1000


async def test_an_implementer_reads_which_rule_is_broken_and_how(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three faults that real wallets have: no tombstone, a refusal that is forgotten, any body for an id."""
    take, reverse = remote.wallet.debit, remote.wallet.reverse

    def forgetful(number: str, body: dict[str, Any]) -> Answer:
        status, answer = take(number, body)
        if answer.get("state") == "REFUSED":
            remote.wallet._db.execute("DELETE FROM debits WHERE id = ?", (number,))
        return (200, remote.wallet.find("debits", number)[1]) if status == 422 else (status, answer)

    def traceless(number: str) -> Answer:
        seen = remote.wallet.find("debits", number)[0] == 200
        return reverse(number) if seen else (200, {"state": "REVERSED"})

    monkeypatch.setattr(remote.wallet, "debit", forgetful)
    monkeypatch.setattr(remote.wallet, "reverse", traceless)

    found = await broken(remote.channel._url)
    assert sorted(found) == [
        "a debit that arrives after its reversal is 409 REVERSED",
        "a refusal is remembered: the right password under the same id changes nothing",
        "another body under the same id is 422",
    ]
    assert found["a debit that arrives after its reversal is 409 REVERSED"] == "answered 200 DONE"


@pytest.mark.parametrize(
    ("fault", "kind", "state", "what"),
    [
        ("", "contract", "ok", "answers as the contract says"),
        ("strange", "contract", "error", "answers an unseen debit with HTTP 404 without a state"),
        ("refused", "contract", "error", "does not know us (HTTP 401)"),
        ("", "legacy", "warning", "has no ids: a wrong password and every doubt wait for two people"),
    ],
)
async def test_doctor_says_how_the_wallet_is(fault: str, kind: str, state: str, what: str) -> None:
    async with wallet_service() as (_, between, url):
        between.faults = [fault]
        settings = read_settings({}, wallet_url=url, wallet_kind=kind)
        (finding,) = [one async for one in examine_wallet(settings, FrozenClock())]

    assert (finding.state, finding.what) == (state, what)
    assert (finding.advice == "") == (state == "ok")


async def test_doctor_says_that_nobody_reaches_the_wallet() -> None:
    settings = read_settings({}, wallet_url=f"http://127.0.0.1:{free_port()}")
    (finding,) = [one async for one in examine_wallet(settings, FrozenClock())]

    assert finding.state == "error"
    assert finding.what.startswith("cannot be reached")


@pytest.mark.parametrize(("status", "away"), [(500, False), (502, True)], ids=["its own no", "a gateway's"])
async def test_wrong_passwords_at_a_wallet_without_ids_keep_nobody_from_paying(
    status: int, away: bool
) -> None:
    """The old endpoint says 500 for a wrong password: anybody could have it taken for away."""

    async def deduct(_: web.Request) -> web.Response:
        return web.Response(status=status, text="用户密码错误")

    app = web.Application()
    app.router.add_put("/users/money/deduct", deduct)
    circuit, clock = Circuit(FrozenClock()), FrozenClock()
    charge = Charge("1", "1", "7", 100, "CNY", "", clock.now(), clock.now(), credential="wrong")
    async with TestServer(app) as server, ChannelHttp.open() as http:
        wallet = LegacyWallet(http, str(server.make_url("")))
        for _ in range(FAILURES_MAX):
            circuit.note(await wallet.open(charge))

    assert circuit.away is away
