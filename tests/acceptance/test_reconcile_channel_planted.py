"""Many of each difference between a channel and us, planted: ``reconcile --channel`` names every one."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from elsewhere import Shop, opened_shop
from reconciling import reconcile
from stages import STAGES, Stage
from support import cases, connected
from wallet_service import Wallet
from wallets import PASSWORD, wallet_service

from paybell.channels.attempt import Attempt
from paybell.channels.http import ChannelHttp
from paybell.channels.wallet import NAME, RemoteWallet
from paybell.pay.model import PayOrder
from paybell.sandbox.books import Trade, TradeState
from paybell.testing import FrozenClock

pytestmark = pytest.mark.slow

# A hundred of each kind with ``make test THOROUGH=1``.
EACH = cases(100)
AMOUNT, BACK = 1177, 77


class ThereByWindow:
    """A channel whose buyers pay in a window: its simulator's books are changed."""

    def __init__(self, stage: Stage, shop: Shop, folder: Path) -> None:
        self.name, self._stage, self._shop = stage.name, stage, shop
        self.settings = stage.settings(folder)

    def _trade(self, attempt: Attempt) -> Trade:
        trade = self._stage.simulator.books.find(str(attempt.id))
        assert trade is not None
        return trade

    async def pay(self, order: PayOrder) -> Attempt:
        """Have an order paid there, and here by the next query."""
        attempt = await self._shop.open(order, self.name)
        self._stage.simulator.books.pay(self._trade(attempt), self._shop.clock.now())
        return attempt

    async def only_there(self, order: PayOrder) -> Attempt:
        """Have it paid there without our knowing."""
        return await self.pay(order)

    def lose(self, attempt: Attempt) -> None:
        """Forget a payment there."""
        trade = self._trade(attempt)
        trade.state, trade.paid_at = TradeState.CLOSED, None

    def change(self, attempt: Attempt) -> None:
        """Have another amount there."""
        self._trade(attempt).amount += 1

    def lose_refund(self, attempt: Attempt) -> None:
        """Forget what went back."""
        self._trade(attempt).refunds.clear()


class ThereByCall:
    """The remote wallet: its tables are changed."""

    name = NAME

    def __init__(self, wallet: Wallet, url: str, shop: Shop) -> None:
        self._tables, self._shop = wallet._db, shop
        self.settings = {"PAYBELL_WALLET_URL": url}

    async def pay(self, order: PayOrder, password: str = PASSWORD) -> Attempt:
        """Pay."""
        await self._shop.pay(order, password)
        (attempt,) = await self._shop.attempts(order)
        return attempt

    async def only_there(self, order: PayOrder) -> Attempt:
        """Have a debit done that was refused."""
        attempt = await self.pay(order, "wrong")
        self._change("UPDATE debits SET state = 'DONE' WHERE id = ?", attempt)
        return attempt

    def lose(self, attempt: Attempt) -> None:
        """Forget a debit there."""
        self._change("DELETE FROM debits WHERE id = ?", attempt)

    def change(self, attempt: Attempt) -> None:
        """Have another amount there."""
        self._change("UPDATE debits SET amount = amount + 1 WHERE id = ?", attempt)

    def lose_refund(self, attempt: Attempt) -> None:
        """Forget the credits of a debit."""
        self._change("DELETE FROM credits WHERE json_extract(request, '$[3]') = ?", attempt)

    def _change(self, statement: str, attempt: Attempt) -> None:
        assert self._tables.execute(statement, (str(attempt.id),)).rowcount == 1


There = ThereByWindow | ThereByCall


@asynccontextmanager
async def there(kind: type[Stage] | None, pay_url: str, folder: Path) -> AsyncIterator[tuple[There, Shop]]:
    # What signs looks at the time of day.
    clock = FrozenClock(datetime.now(UTC))
    if kind is None:
        async with wallet_service() as (wallet, _, url), ChannelHttp.open() as http:
            wallet.open("alice", PASSWORD, 10**9)
            async with opened_shop(pay_url, [RemoteWallet(http, url)], clock=clock) as shop:
                yield ThereByCall(wallet, url, shop), shop
        return
    async with (
        kind(clock).running() as stage,
        opened_shop(pay_url, [stage.channel], clock=clock, notify_url=stage.notify_url) as shop,
    ):
        yield ThereByWindow(stage, shop, folder), shop


async def orders(shop: Shop, first: int, count: int) -> Sequence[PayOrder]:
    return [await shop.order(number, AMOUNT, 7200) for number in range(first, first + count)]


@pytest.mark.parametrize("kind", [*STAGES, None], ids=[*(one.name for one in STAGES), NAME])
async def test_each_planted_difference_of_every_kind_is_found_and_named(
    kind: type[Stage] | None, pay_url: str, tmp_path: Path
) -> None:
    async with there(kind, pay_url, tmp_path) as (other, shop):
        paid = await orders(shop, 1, 4 * EACH)
        attempts = [await other.pay(order) for order in paid]
        await shop.chase(30)
        # Something of the last two lots goes back; of one it will not have arrived.
        for order in paid[2 * EACH :]:
            await shop.side.refund(order.id, BACK)
        await shop.send_back(30)
        async with connected(pay_url) as rows:
            refunds = {
                row["attempt_id"]: row["id"]
                for row in await rows.fetch(
                    "SELECT id, attempt_id FROM channel_refunds WHERE state = 'SUCCEEDED'"
                )
            }
        assert len(refunds) == 2 * EACH

        planted = dict[tuple[str, str], str]()
        for order in await orders(shop, 10_001, EACH):
            planted["payment", str((await other.only_there(order)).id)] = "theirs_only"
        for attempt in attempts[:EACH]:
            other.lose(attempt)
            planted["payment", str(attempt.id)] = "ours_only"
        for attempt in attempts[EACH : 2 * EACH]:
            other.change(attempt)
            planted["payment", str(attempt.id)] = "amount_differs"
        for attempt in attempts[3 * EACH :]:
            other.lose_refund(attempt)
            planted["refund", str(refunds[attempt.id])] = "ours_only"

        today = shop.clock.now().date()
        days = ("--since", str(today - timedelta(days=1)), "--until", str(today + timedelta(days=2)))
        code, text = await asyncio.to_thread(reconcile, pay_url, other.name, None, *days, **other.settings)

    assert code == 1, text
    said = json.loads(text)
    found = {(one["kind"], one["number"]): one["what"] for one in said["differences"]}
    assert len(found) == len(said["differences"]) == 4 * EACH
    assert found == planted
    # Payments they alone have weigh up those they lack; a fen each, and the refunds, are left.
    assert [one["difference"] for one in said["sums"]] == [EACH * (1 + BACK)]
