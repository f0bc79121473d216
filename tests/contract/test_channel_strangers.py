"""Clients of others against our simulators, and against what our channels sign."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import stripe
from rsa_keys import key_pair
from stages import (
    API_KEY,
    API_V3_KEY,
    APPID,
    MCHID,
    OUR_KEY,
    PUBLIC_KEY_ID,
    THEIR_KEY,
    WEBHOOK_SECRETS,
    StripeStage,
    WechatStage,
)
from wechatpayv3 import WeChatPay, WeChatPayType

from paybell.channels.stripe import messages

pytestmark = pytest.mark.slow


@pytest.fixture
async def wechat() -> AsyncIterator[WechatStage]:
    async with WechatStage().running() as stage:
        assert isinstance(stage, WechatStage)
        yield stage


@pytest.fixture
async def stripe_stage() -> AsyncIterator[StripeStage]:
    async with StripeStage().running() as stage:
        assert isinstance(stage, StripeStage)
        yield stage


def wechatpayv3(stage: WechatStage) -> Any:
    client = WeChatPay(
        wechatpay_type=WeChatPayType.NATIVE,
        mchid=MCHID,
        private_key=key_pair(OUR_KEY).private,
        cert_serial_no="5157F09EFDC096DE15EBE81A47057A7232F1B8E1",
        apiv3_key=API_V3_KEY,
        appid=APPID,
        notify_url=stage.notify_url,
        public_key=key_pair(THEIR_KEY).public,
        public_key_id=PUBLIC_KEY_ID,
    )
    client._core._gate_way = stage.url
    return client


async def test_wechatpayv3_pays_refunds_and_believes_our_simulator(wechat: WechatStage) -> None:
    client, charge = wechatpayv3(wechat), wechat.charge()

    status, text = await asyncio.to_thread(
        client.pay,
        description="tea",
        out_trade_no=charge.attempt_id,
        amount={"total": 1177, "currency": "CNY"},
        time_expire="2099-01-01T00:00:00+08:00",
    )
    assert status == 200, text
    assert json.loads(text)["code_url"].startswith("weixin://")

    wechat.pay(charge)
    status, text = await asyncio.to_thread(client.query, out_trade_no=charge.attempt_id)
    assert (status, json.loads(text)["trade_state"]) == (200, "SUCCESS")

    [notice] = await wechat.heard()
    assert client.callback(notice.headers, notice.body.decode())["resource"]["amount"]["total"] == 1177

    status, text = await asyncio.to_thread(
        client.refund,
        out_refund_no="7001",
        out_trade_no=charge.attempt_id,
        amount={"refund": 100, "total": 1177, "currency": "CNY"},
    )
    assert (status, json.loads(text)["status"]) == (200, "SUCCESS")
    assert wechat.books(charge) == (1177, 100)


async def test_what_wechatpayv3_opened_our_channel_closes(wechat: WechatStage) -> None:
    """Both sign the same bytes, or the simulator would turn one of them away."""
    client, charge = wechatpayv3(wechat), wechat.charge()
    await asyncio.to_thread(
        client.pay,
        description="tea",
        out_trade_no=charge.attempt_id,
        amount={"total": 1177},
        time_expire="2099-01-01T00:00:00+08:00",
    )
    await wechat.channel.close(charge)
    status, text = await asyncio.to_thread(client.query, out_trade_no=charge.attempt_id)
    assert (status, json.loads(text)["trade_state"]) == (200, "CLOSED")


async def test_stripes_own_client_pays_refunds_and_believes_our_simulator(stripe_stage: StripeStage) -> None:
    client = stripe.StripeClient(
        API_KEY,
        base_addresses={"api": stripe_stage.url},
        max_network_retries=0,
        stripe_version=messages.VERSION,
    )
    charge = stripe_stage.charge()

    def opened() -> Any:
        return client.v1.checkout.sessions.create(
            {
                "mode": "payment",
                "client_reference_id": charge.attempt_id,
                "line_items": [
                    {
                        "quantity": 1,
                        "price_data": {
                            "currency": "cny",
                            "unit_amount": 1177,
                            "product_data": {"name": "a & b"},
                        },
                    }
                ],
                "success_url": "http://127.0.0.1:1/",
            },
            {"idempotency_key": "k1"},
        )

    session = await asyncio.to_thread(opened)
    assert (await asyncio.to_thread(opened)).id == session.id
    stripe_stage.pay(charge)
    session = await asyncio.to_thread(client.v1.checkout.sessions.retrieve, session.id)
    assert (session.payment_status, session.amount_total) == ("paid", 1177)

    [notice] = await stripe_stage.heard()
    for secret in WEBHOOK_SECRETS:
        event = stripe.Webhook.construct_event(notice.body, notice.headers["stripe-signature"], secret)
        assert event.type == "checkout.session.completed"

    refund = await asyncio.to_thread(
        client.v1.refunds.create, {"payment_intent": str(session.payment_intent), "amount": 100}
    )
    assert (refund.status, stripe_stage.books(charge)) == ("succeeded", (1177, 100))
