"""Bills by API: signed, hashed, bounded, and downloaded from nowhere but the channel."""

import gzip
from collections.abc import AsyncIterator, Callable
from datetime import date, timedelta

import pytest
from aiohttp import web
from rsa_keys import key_pair
from stages import (
    APP_ID,
    APPID,
    MCHID,
    OUR_KEY,
    PUBLIC_KEY_ID,
    SELLER_ID,
    SERIAL,
    STRANGERS_KEY,
    THEIR_KEY,
    AlipayStage,
    Stage,
    WechatStage,
)

from paybell.channels import downloads
from paybell.channels.alipay import bill_download as alipay
from paybell.channels.alipay.gateway import AlipayGateway
from paybell.channels.alipay.messages import BEIJING
from paybell.channels.alipay.messages import Merchant as AlipayMerchant
from paybell.channels.bill_sources import Bill
from paybell.channels.bills import BadBill, Key, NoBill
from paybell.channels.crypto import PrivateKey, PublicKey
from paybell.channels.downloads import bill_url
from paybell.channels.errors import ChannelUnavailable
from paybell.channels.keyring import Keyring
from paybell.channels.wechat import bill_download as wechat
from paybell.channels.wechat.api import WechatApi
from paybell.channels.wechat.messages import Merchant as WechatMerchant
from paybell.sandbox.faults import Fault, Operation


@pytest.fixture(params=[AlipayStage, WechatStage])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with request.param().running() as one:
        yield one


async def fetch(stage: Stage, day: date, our_key: int = OUR_KEY) -> Bill:
    ours = key_pair(our_key).private
    if stage.name == "alipay":
        gateway = AlipayGateway(
            AlipayMerchant(APP_ID, SELLER_ID, f"{stage.url}/gateway.do"),
            stage.http,
            stage.clock,
            app_keys=Keyring("PAYBELL_ALIPAY_PRIVATE_KEYS", ours, PrivateKey),
            alipay_keys=Keyring("PAYBELL_ALIPAY_PUBLIC_KEYS", key_pair(THEIR_KEY).public, PublicKey),
        )
        return await alipay.fetch_bill(gateway, day)
    theirs = f"{PUBLIC_KEY_ID}={key_pair(THEIR_KEY).public}"
    api = WechatApi(
        WechatMerchant(MCHID, APPID, stage.url),
        stage.http,
        stage.clock,
        own_keys=Keyring("PAYBELL_WECHAT_PRIVATE_KEYS", f"{SERIAL}={ours}", PrivateKey),
        wechat_keys=Keyring("PAYBELL_WECHAT_PUBLIC_KEYS", theirs, PublicKey),
    )
    return await wechat.fetch_bill(api, day)


async def paid_today(stage: Stage) -> tuple[str, date]:
    charge = stage.charge()
    await stage.channel.open(charge)
    stage.pay(charge)
    at = stage.trade(charge).paid_at
    assert at is not None
    return charge.attempt_id, at.astimezone(BEIJING).date()


async def test_a_day_is_asked_for_and_only_that_day_comes(stage: Stage) -> None:
    number, day = await paid_today(stage)
    assert list(await fetch(stage, day)) == [Key("payment", number)]
    # A day on which nothing moved is a result.
    assert await fetch(stage, day - timedelta(days=1)) == {}


@pytest.mark.parametrize("fault", [Fault.UNSIGNED, Fault.BAD_SIGNATURE, Fault.HTML_502, Fault.LOSE_ANSWER])
async def test_what_is_not_surely_the_channels_gives_no_bill(stage: Stage, fault: Fault) -> None:
    _, day = await paid_today(stage)
    stage.fault(Operation.BILL, fault)
    with pytest.raises(ChannelUnavailable, match="try again"):
        await fetch(stage, day)


async def test_a_stranger_gets_no_bill(stage: Stage) -> None:
    _, day = await paid_today(stage)
    with pytest.raises(NoBill, match=r"invalid-signature|SIGN_ERROR"):
        await fetch(stage, day, STRANGERS_KEY)


async def test_a_bill_longer_than_the_bound_is_not_taken(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, day = await paid_today(stage)
    monkeypatch.setattr(downloads, "BILL_BYTES_MAX", 100)
    with pytest.raises(ChannelUnavailable, match="more than 100 bytes"):
        await fetch(stage, day)


async def test_an_address_is_good_for_a_short_time(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    _, day = await paid_today(stage)
    offer = stage.simulator.downloads.offer
    monkeypatch.setattr(
        stage.simulator.downloads, "offer", lambda content, now: offer(content, now - timedelta(minutes=6))
    )
    with pytest.raises(NoBill, match="HTTP 404"):
        await fetch(stage, day)


def other_text(bill: bytes) -> bytes:
    return gzip.compress(gzip.decompress(bill).replace(b"1", b"2"))


@pytest.mark.parametrize("spoil", [other_text, lambda bill: bill[:-9]])
async def test_wechats_download_must_come_to_the_hash_that_was_signed(
    spoil: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with WechatStage().running() as stage:
        _, day = await paid_today(stage)
        take = stage.simulator.downloads.take
        monkeypatch.setattr(
            stage.simulator.downloads, "take", lambda token, now: spoil(take(token, now) or b"")
        )
        with pytest.raises(BadBill):
            await fetch(stage, day)


async def test_a_place_that_is_not_the_channels_is_never_called(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even if the channel signs it."""
    called = list[str]()

    async def trap(request: web.Request) -> web.Response:
        called.append(request.path)
        return web.Response()

    app = web.Application()
    app.router.add_get("/{path:.*}", trap)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        _, day = await paid_today(stage)
        real = stage.url
        monkeypatch.setattr(stage.simulator, "url", f"http://127.0.0.1:{runner.addresses[0][1]}")
        with pytest.raises(NoBill, match="none of its own"):
            await fetch(stage, day)
        assert (called, real != stage.simulator.url) == ([], True)
    finally:
        await runner.cleanup()


def test_a_bill_is_downloaded_from_the_channels_hosts_only_and_encrypted() -> None:
    api = "https://openapi.alipay.com/gateway.do"
    theirs = "http://dwbillcenter.alipay.com/downloadBillFile.resource?bizType=trade&fileId=1"
    assert bill_url(theirs, api, "alipay.com") == theirs.replace("http:", "https:")
    for url in (
        "http://alipay.com.example.net/f",
        "https://notalipay.com/f",
        "https://alipay.com@example.net/f",
        "https://dwbillcenter.alipay.com:8443/f",
        "ftp://dwbillcenter.alipay.com/f",
        "http://127.0.0.1/f",
        "http://[::1",
        "",
    ):
        with pytest.raises(NoBill):
            bill_url(url, api, "alipay.com")
