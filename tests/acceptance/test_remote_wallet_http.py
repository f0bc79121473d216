"""A whole service that pays out of a remote wallet: what buyers, shops and operators get over HTTP."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio
from serving import SETTINGS, Client, fresh_databases, fresh_number, in_process
from support import Databases, until
from wallet_service import Wallet
from wallets import PASSWORD, Between, wallet_service

pytestmark = pytest.mark.asyncio(loop_scope="session")


@dataclass(frozen=True, slots=True)
class Remote:
    """A client of the service, the wallet, and what stands between them."""

    http: Client
    wallet: Wallet
    between: Between

    async def order(self) -> str:
        """Apply for a pay order of Alice's."""
        body = {"bizOrderNo": str(fresh_number()), "payerId": "alice", "amount": 100}
        return str((await self.http.post("/pay-orders", self.http.shop, body)).json["payOrderId"])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def remote(postgres: Databases) -> AsyncIterator[Remote]:
    async with wallet_service() as (wallet, between, url):
        wallet.open("alice", PASSWORD, 10_000)
        settings = replace(SETTINGS, wallet_url=url)
        async with in_process(await fresh_databases(postgres), settings=settings) as running:
            yield Remote(running.client, wallet, between)


async def test_a_payment_is_answered_with_200_and_a_doubt_with_202_until_it_is_certain(
    remote: Remote,
) -> None:
    http, alice = remote.http, remote.http.token("alice")
    first, second = await remote.order(), await remote.order()
    consent = {"payPassword": PASSWORD}
    had = remote.wallet.balance("alice")
    paid = await http.post(f"/pay-orders/{first}/pay", alice, consent)
    assert (paid.status, paid.json["status"], paid.json["channel"]) == (200, "TRADE_SUCCESS", "balance")

    remote.between.faults = ["fails"]
    doubtful = await http.post(f"/pay-orders/{second}/pay", alice, consent)
    assert (doubtful.status, doubtful.json["status"], doubtful.json["channel"]) == (
        202,
        "WAIT_BUYER_PAY",
        None,
    )
    closing = await http.post(f"/pay-orders/{second}/close", http.shop)
    assert closing.refusal == (409, "attempt_not_final")

    async def is_paid() -> bool:
        return bool((await http.get(f"/pay-orders/{second}", alice)).json["status"] == "TRADE_SUCCESS")

    await until(is_paid)
    attempts = (await http.get(f"/pay-orders/{second}/attempts", alice)).json["attempts"]
    assert [one["state"] for one in attempts] == ["SUCCEEDED"]
    assert (await http.get(f"/attempts/{attempts[0]['attemptId']}", http.shop)).json["queries"] >= 1
    assert remote.wallet.balance("alice") == had - 200


async def test_a_refund_goes_back_by_the_wallet(remote: Remote) -> None:
    http = remote.http
    order, before = await remote.order(), remote.wallet.balance("alice")
    await http.post(f"/pay-orders/{order}/pay", http.token("alice"), {"payPassword": PASSWORD})
    answer = await http.send(
        "POST", f"/pay-orders/{order}/refunds", http.shop, {"amount": 30}, headers={"Idempotency-Key": "r1"}
    )
    assert (answer.status, answer.json["status"], answer.json["refundedAmount"]) == (201, "PENDING", 0)

    async def has_gone_back() -> bool:
        found = (await http.get(f"/pay-orders/{order}/refunds", http.shop)).json["refunds"]
        return [one["status"] for one in found] == ["SUCCEEDED"]

    await until(has_gone_back)
    assert (await http.get(f"/pay-orders/{order}", http.shop)).json["refundedAmount"] == 30
    assert remote.wallet.balance("alice") == before - 70


async def test_refusals_have_their_codes_and_no_password_of_six_digits_is_asked_for(remote: Remote) -> None:
    http, alice = remote.http, remote.http.token("alice")
    order = await remote.order()
    path = f"/pay-orders/{order}/pay"
    assert (await http.post(path, alice, {"payPassword": "wrong"})).refusal == (403, "wrong_pay_password")
    assert (await http.post(path, http.token("bob"), {"payPassword": "x"})).refusal == (403, "not_the_payer")
    assert (await http.post(path, alice, {"payPassword": ""})).refusal[0] == 400
    offered = await http.post(f"/pay-orders/{order}/attempts", alice, {"channel": "balance"})
    assert offered.refusal == (409, "channel_not_offered")
    notice = await http.post("/channels/balance/notices", None, {"paid": True})
    assert notice.status == 400


async def test_attempts_are_their_payers_and_operators_alone(remote: Remote) -> None:
    http, alice, bob = remote.http, remote.http.token("alice"), remote.http.token("bob")
    order = await remote.order()
    await http.post(f"/pay-orders/{order}/pay", alice, {"payPassword": PASSWORD})
    path = f"/pay-orders/{order}/attempts"
    (attempt,) = (await http.get(path, alice)).json["attempts"]
    one, settling = f"/attempts/{attempt['attemptId']}", {"outcome": "paid", "note": "seen"}

    for token, refusal in ((None, (401, "not_authenticated")), (bob, (403, "not_the_payer"))):
        assert (await http.get(path, token)).refusal == refusal
    for token, refusal in ((None, (401, "not_authenticated")), (alice, (403, "insufficient_scope"))):
        assert (await http.get("/attempts", token)).refusal == refusal
        assert (await http.get(one, token)).refusal == refusal
        assert (await http.post(f"{one}/settlements", token, settling)).refusal == refusal
        assert (await http.post(f"{one}/settlements/withdraw", token)).refusal == refusal
    reader = http.token("carol", "ops:read")
    assert (await http.post(path, None, {"channel": "balance"})).refusal == (401, "not_authenticated")
    assert (await http.get(one, reader)).status == 200
    assert (await http.post(f"{one}/settlements", reader, settling)).refusal == (403, "insufficient_scope")
    withdrawing = await http.post(f"{one}/settlements/withdraw", reader)
    assert withdrawing.refusal == (403, "insufficient_scope")


async def test_an_order_is_not_cancelled_while_its_payment_is_being_confirmed(remote: Remote) -> None:
    http, alice = remote.http, remote.http.token("alice")
    body = {"buyerId": "alice", "totalFee": 100, "orderId": str(fresh_number())}
    order = (await http.post("/orders", http.shop, body)).json
    remote.between.faults = ["lost"]
    doubtful = await http.post(f"/pay-orders/{order['payOrderId']}/pay", alice, {"payPassword": PASSWORD})
    assert doubtful.status == 202
    cancelling = await http.post(f"/orders/{order['orderId']}/cancel", alice)
    assert cancelling.refusal == (409, "attempt_not_final")

    async def is_cancelled() -> bool:
        return (await http.post(f"/orders/{order['orderId']}/cancel", alice)).status == 200

    await until(is_cancelled, seconds=20)
    assert (await http.get(f"/pay-orders/{order['payOrderId']}", alice)).json["status"] == "TRADE_CLOSED"
