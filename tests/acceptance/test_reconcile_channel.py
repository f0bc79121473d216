"""``paybell reconcile --channel``: a channel's bill beside what was entered here, each difference by name."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from elsewhere import opened_shop
from reconciling import reconcile
from stages import (
    AlipayStage,
    Stage,
    StripeStage,
    WechatStage,
)
from support import connected

from paybell.channels.alipay.messages import BEIJING
from paybell.ids import ID_MAX
from paybell.testing import FrozenClock

NOON = datetime(2026, 1, 31, 4, tzinfo=UTC)
DAY = NOON.astimezone(BEIJING).date().isoformat()


@pytest.mark.parametrize(
    ("kind", "first_id"), [(AlipayStage, 1001), (WechatStage, ID_MAX - 1_000_000)], ids=["alipay", "wechat"]
)
async def test_a_bill_is_matched_to_the_last_row_and_each_difference_is_named(
    kind: type[Stage], first_id: int, pay_url: str, tmp_path: Path
) -> None:
    """From July 2031 on ids have nineteen digits."""
    clock, bill = FrozenClock(NOON), tmp_path / "bill"
    async with (
        kind(clock).running() as stage,
        opened_shop(
            pay_url, [stage.channel], clock=clock, notify_url=stage.notify_url, first_id=first_id
        ) as shop,
    ):
        orders = [await shop.order(number, 100 * number, ttl_seconds=7200) for number in range(1, 5)]
        attempts = [await shop.open(order, stage.name) for order in orders]
        trades = [stage.simulator.books.find(str(one.id)) for one in attempts]
        for trade in trades:
            assert trade is not None
            stage.simulator.pay(trade)
        await shop.chase(60)
        await shop.side.refund(orders[0].id, 30)
        await shop.send_back(60)
        bill.write_bytes(stage.simulator.bill())
        code, text = reconcile(pay_url, stage.name, bill, "--since", DAY)
        equal = {"currency": "CNY", "bill": 970, "clearingAccount": 970, "ofOtherDays": 0, "difference": 0}
        assert (code, json.loads(text)) == (
            0,
            {"channel": stage.name, "rows": 5, "entered": 5, "differences": [], "sums": [equal]},
        )

        # Theirs only: one we never entered. Ours only: one their books have lost. Another amount.
        late = await shop.open(await shop.order(5, 500, ttl_seconds=7200), stage.name)
        unknown = stage.simulator.books.find(str(late.id))
        assert unknown is not None
        stage.simulator.books.pay(unknown, clock.now())
        assert trades[1] is not None
        assert trades[2] is not None
        trades[1].paid_at = None
        trades[2].amount += 1
        bill.write_bytes(stage.simulator.bill())
        code, text = reconcile(pay_url, stage.name, bill, "--since", DAY)
        assert code == 1
        assert [(one["number"], one["what"]) for one in json.loads(text)["differences"]] == [
            (str(attempts[1].id), "ours_only"),
            (str(attempts[2].id), "amount_differs"),
            (str(late.id), "theirs_only"),
        ]
        # Theirs has 500 and 1 more, and 200 less, than what the clearing account moved.
        differs = {**equal, "bill": 970 + 500 + 1 - 200, "difference": 301}
        assert json.loads(text)["sums"] == [differs]

    if kind is AlipayStage:
        bill.write_bytes(bill.read_bytes()[:-20])
        assert "whole bill" in reconcile(pay_url, kind.name, bill, "--since", DAY)[1]
        assert "--since 2026-01-31" in reconcile(pay_url, kind.name, bill)[1]


@pytest.mark.parametrize("kind", [AlipayStage, WechatStage])
async def test_a_channel_is_asked_for_its_bills_of_all_days_and_they_are_matched(
    kind: type[Stage], pay_url: str, tmp_path: Path
) -> None:
    # What signs looks at the time of day, so this one does not stand at noon.
    clock = FrozenClock(datetime.now(UTC))
    today = clock.now().astimezone(BEIJING).date()
    days = ("--since", str(today - timedelta(days=1)), "--until", str(today + timedelta(days=2)))
    async with (
        kind(clock).running() as stage,
        opened_shop(pay_url, [stage.channel], clock=clock, notify_url=stage.notify_url) as shop,
    ):
        keys = stage.settings(tmp_path)
        attempts = [
            await shop.open(await shop.order(number, 100, ttl_seconds=7200), stage.name) for number in (1, 2)
        ]
        first, second = (stage.simulator.books.find(str(one.id)) for one in attempts)
        assert first is not None
        assert second is not None
        stage.simulator.pay(first)
        await shop.chase(60)
        stage.simulator.books.pay(second, clock.now())
        code, text = await asyncio.to_thread(reconcile, pay_url, stage.name, None, *days, **keys)
        assert (code, json.loads(text)["rows"]) == (1, 2), text
        assert [(one["number"], one["what"]) for one in json.loads(text)["differences"]] == [
            (str(attempts[1].id), "theirs_only")
        ]


async def test_money_that_the_ledger_alone_has_or_lacks_is_said(pay_url: str, tmp_path: Path) -> None:
    """Each row of the bill agrees with its attempt, and the clearing account does not come to their sum."""
    clock, bill = FrozenClock(NOON), tmp_path / "bill"
    async with (
        WechatStage(clock).running() as stage,
        opened_shop(pay_url, [stage.channel], clock=clock, notify_url=stage.notify_url) as shop,
    ):
        orders = [await shop.order(number, 100, ttl_seconds=7200) for number in (1, 2, 3)]
        for order in orders:
            trade = stage.simulator.books.find(str((await shop.open(order, stage.name)).id))
            assert trade is not None
            stage.simulator.pay(trade)
        await shop.chase(60)
        # On its way back: the account has moved it, and the bill of this day has it only once it is done.
        await shop.side.refund(orders[0].id, 30)
        async with connected(pay_url) as rows:
            await rows.execute("SET session_replication_role = replica")
            await rows.execute("UPDATE transfers SET amount = 99 WHERE reference = $1", str(orders[1].id))
            await rows.execute(
                "UPDATE transfers SET created_at = created_at + interval '1 day' WHERE reference = $1",
                str(orders[2].id),
            )
        bill.write_bytes(stage.simulator.bill())
        code, text = reconcile(pay_url, stage.name, bill, "--since", DAY)
        said = json.loads(text)
        assert (code, said["differences"]) == (1, [])
        assert said["sums"] == [
            {"currency": "CNY", "bill": 300, "clearingAccount": 169, "ofOtherDays": -130, "difference": 1}
        ]


async def test_stripes_report_is_asked_for_and_matched(pay_url: str, tmp_path: Path) -> None:
    clock = FrozenClock(NOON)
    async with (
        StripeStage(clock).running() as stage,
        opened_shop(pay_url, [stage.channel], clock=clock, notify_url=stage.notify_url) as shop,
    ):
        attempts = [
            await shop.open(await shop.order(number, 100, ttl_seconds=7200), stage.name) for number in (1, 2)
        ]
        first, second = (stage.simulator.books.find(str(one.id)) for one in attempts)
        assert first is not None
        assert second is not None
        stage.simulator.pay(first)
        await shop.chase(60)
        stage.simulator.books.pay(second, clock.now())
        code, text = await asyncio.to_thread(
            reconcile,
            pay_url,
            "stripe",
            None,
            "--since",
            DAY,
            **stage.settings(tmp_path),
        )

    assert code == 1, text
    assert [(one["number"], one["what"]) for one in json.loads(text)["differences"]] == [
        (str(attempts[1].id), "theirs_only")
    ]
