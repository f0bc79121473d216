"""Keys of channels are changed while buyers pay: nobody is refused, and no payment is lost."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from elsewhere import Shop, opened_shop
from rsa_keys import key_pair, private_key
from stages import (
    API_V3_KEY,
    OUR_KEY,
    PUBLIC_KEY_ID,
    SERIAL,
    STRANGERS_KEY,
    THEIR_KEY,
    THEIR_OLD_KEY,
    WEBHOOK_SECRETS,
    AlipayStage,
    Stage,
    StripeStage,
    WechatStage,
)
from support import until
from wallets import PASSWORD, wallet_service

from paybell.channels.answers import Waiting
from paybell.channels.attempt import charge_of
from paybell.channels.crypto import AesKey
from paybell.channels.http import ChannelHttp
from paybell.channels.keyring import KeyFiles
from paybell.channels.openers import OPENERS
from paybell.pay.model import PayOrder
from paybell.pay.status import PayStatus
from paybell.settings import read_settings
from paybell.testing import FrozenClock

pytestmark = pytest.mark.slow

NEW_OURS, NEW_THEIRS = STRANGERS_KEY, THEIR_OLD_KEY
NEW_SERIAL, NEW_ID = "A" * 40, "PUB_KEY_ID_0119000000012027"
OLD_API_KEY, NEW_API_KEY = "sk_test_" + "a" * 24, "sk_test_" + "b" * 24
NEW_API_V3_KEY = "another1" * 4
Told = Callable[[Any], object]


def nothing(_: object) -> None:
    """Have the other side know both all the time."""


@dataclass(frozen=True)
class Change:
    """One key of a setting: what its file says before and after, and what the other side does meanwhile."""

    kind: type[Stage]
    variable: str
    old: str
    new: str
    prepared: Told
    switched: Told


def _assign(name: str, *values: object) -> Told:
    return lambda simulator: setattr(simulator, name, list(values))


CHANGES = [
    Change(
        AlipayStage,
        "PAYBELL_ALIPAY_PRIVATE_KEYS",
        key_pair(OUR_KEY).private,
        key_pair(NEW_OURS).private,
        _assign("app_keys", private_key(OUR_KEY).public, private_key(NEW_OURS).public),
        _assign("app_keys", private_key(NEW_OURS).public),
    ),
    Change(
        AlipayStage,
        "PAYBELL_ALIPAY_PUBLIC_KEYS",
        key_pair(THEIR_KEY).public,
        key_pair(NEW_THEIRS).public,
        nothing,
        _assign("keys", private_key(NEW_THEIRS)),
    ),
    Change(
        WechatStage,
        "PAYBELL_WECHAT_PRIVATE_KEYS",
        f"{SERIAL}={key_pair(OUR_KEY).private}",
        f"{NEW_SERIAL}={key_pair(NEW_OURS).private}",
        _assign("merchant_keys", private_key(OUR_KEY).public, private_key(NEW_OURS).public),
        _assign("merchant_keys", private_key(NEW_OURS).public),
    ),
    Change(
        WechatStage,
        "PAYBELL_WECHAT_PUBLIC_KEYS",
        f"{PUBLIC_KEY_ID}={key_pair(THEIR_KEY).public}",
        f"{NEW_ID}={key_pair(NEW_THEIRS).public}",
        _assign("keys", (PUBLIC_KEY_ID, private_key(THEIR_KEY)), (NEW_ID, private_key(NEW_THEIRS))),
        _assign("keys", (NEW_ID, private_key(NEW_THEIRS))),
    ),
    Change(
        WechatStage,
        "PAYBELL_WECHAT_API_V3_KEYS",
        API_V3_KEY,
        NEW_API_V3_KEY,
        nothing,
        lambda simulator: setattr(simulator, "aes", AesKey(NEW_API_V3_KEY)),
    ),
    Change(
        StripeStage,
        "PAYBELL_STRIPE_API_KEYS",
        OLD_API_KEY,
        NEW_API_KEY,
        _assign("bearers", f"Bearer {OLD_API_KEY}", f"Bearer {NEW_API_KEY}"),
        _assign("bearers", f"Bearer {NEW_API_KEY}"),
    ),
    Change(
        StripeStage,
        "PAYBELL_STRIPE_WEBHOOK_SECRETS",
        WEBHOOK_SECRETS[1],
        WEBHOOK_SECRETS[0],
        _assign("secrets", *WEBHOOK_SECRETS),
        _assign("secrets", WEBHOOK_SECRETS[0]),
    ),
]


class Files:
    """A setting of two files, of the newest key and the one before; the same while nothing changes."""

    def __init__(self, folder: Path, old: str) -> None:
        self._newest, self._before = folder / "newest", folder / "before"
        self._newest.write_text(old)
        self._before.write_text(old)

    @property
    def setting(self) -> str:
        """What stands in the setting."""
        return f"file:{self._newest},file:{self._before}"

    def add(self, new: str) -> None:
        """Have a new key beside the one before."""
        self._newest.write_text(new)

    def drop(self, new: str) -> None:
        """Have the new one alone."""
        self._before.write_text(new)


class Buyers:
    """Buyers who pay one after the other and have a part given back, each by notice, query and refund."""

    def __init__(self, shop: Shop, buy: Callable[[PayOrder], Any]) -> None:
        self._shop, self._buy = shop, buy
        self.done = list[PayOrder]()

    async def run(self) -> None:
        """Go on until cancelled, or until something goes wrong."""
        number = 0
        while True:
            number += 1
            order = await self._shop.order(number, 100, 7200)
            await self._buy(order)
            assert (await self._shop.read(order)).status is PayStatus.TRADE_SUCCESS
            await self._shop.side.refund(order.id, 30)
            await self._shop.send_back(3)
            assert (await self._shop.read(order)).refunded_amount == 30
            self.done.append(order)

    async def some_more(self, task: "asyncio.Task[None]", count: int = 3) -> None:
        """Wait until so many have paid who began after now; fail as soon as one of them does."""
        wanted = len(self.done) + count + 1

        async def have() -> bool:
            return task.done() or len(self.done) >= wanted

        await until(have, seconds=60)
        if task.done():
            task.result()


async def changed(buyers: Buyers, rings: KeyFiles, steps: Sequence[Callable[[], object]]) -> None:
    """Take each step of a change while buyers pay, before it and after it; files are read again each time."""
    task = asyncio.create_task(buyers.run())
    try:
        await buyers.some_more(task)
        for step in steps:
            step()
            await rings.run_once()
            await buyers.some_more(task)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.variable)
async def test_a_key_is_changed_under_payments(change: Change, pay_url: str, tmp_path: Path) -> None:
    clock = FrozenClock(datetime.now(UTC))
    async with change.kind(clock).running() as stage:
        files = Files(tmp_path, change.old)
        settings = read_settings(
            {
                **stage.settings(tmp_path),
                change.variable: files.setting,
                "PAYBELL_JWT_SECRET": "x" * 32,
                "PAYBELL_PIN_PEPPER": "x" * 32,
            }
        )
        (channel,) = [
            one
            for opener in OPENERS
            if (one := opener(settings, stage.http, clock)) is not None and one.name == stage.name
        ]
        stage.channel = channel
        async with opened_shop(pay_url, [channel], clock=clock, notify_url=stage.notify_url) as shop:

            async def buy(order: PayOrder) -> None:
                attempt = await shop.open(order, stage.name)
                trade = stage.simulator.books.find(str(attempt.id))
                assert trade is not None
                trade.known = True
                assert isinstance(await channel.query(charge_of(attempt, order)), Waiting)
                stage.notices.clear()
                stage.simulator.pay(trade)
                (notice,) = await stage.heard()
                assert (
                    await shop.take_notice(stage.name, notice.headers, notice.body)
                ) == channel.answer_notice(taken=True)

            if change.variable == "PAYBELL_STRIPE_WEBHOOK_SECRETS":
                stage.simulator.secrets = [WEBHOOK_SECRETS[1]]  # type: ignore[attr-defined]
            rings = KeyFiles(channel.keyrings)  # type: ignore[attr-defined]
            await changed(
                Buyers(shop, buy),
                rings,
                [
                    lambda: change.prepared(stage.simulator),
                    lambda: files.add(change.new),
                    lambda: change.switched(stage.simulator),
                    lambda: files.drop(change.new),
                ],
            )
            assert await shop.faults() == []


@pytest.mark.parametrize("first", ["we", "they"])
async def test_the_wallets_token_is_changed_under_payments_whoever_is_first(
    first: str, pay_url: str, tmp_path: Path
) -> None:
    files = Files(tmp_path, "old-token")
    async with wallet_service() as (wallet, between, url), ChannelHttp.open() as http:
        wallet.open("alice", PASSWORD, 10**9)
        between.tokens = {"old-token"}
        settings = read_settings(
            {
                "PAYBELL_WALLET_URL": url,
                "PAYBELL_WALLET_TOKEN": files.setting,
                "PAYBELL_JWT_SECRET": "x" * 32,
                "PAYBELL_PIN_PEPPER": "x" * 32,
            }
        )
        channel = OPENERS[0](settings, http, FrozenClock())
        assert channel is not None
        async with opened_shop(pay_url, [channel]) as shop:
            rings = KeyFiles(channel.keyrings)  # type: ignore[attr-defined]

            async def buy(order: PayOrder) -> None:
                paid = await shop.pay(order)
                assert isinstance(paid, PayOrder), paid

            def we() -> None:
                files.add("new-token")

            def they() -> None:
                between.tokens = {"new-token"}

            steps = [we, they]
            if first == "they":
                steps = [lambda: between.tokens.add("new-token"), we, they]
            await changed(Buyers(shop, buy), rings, [*steps, lambda: files.drop("new-token")])
            assert await shop.faults() == []
