"""Killed anywhere between two steps of anything, and started again: every promise holds as before.

The steps are found by counting the awaits of the running code, so that a new one is covered by itself.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from crashing import every_step
from notebook import BINDING, Notebook, notebook
from relaying import expire_leases, pending, relay
from support import PASSWORD, PaySide, codes, connected, payment, until

from paybell.backoff import LISTENER_RETRY_SECONDS
from paybell.clock import SystemClock
from paybell.errors import AlreadyPaid, PayOrderClosed
from paybell.idempotency.keys import IdempotencyKey
from paybell.messaging.broker import Topology
from paybell.messaging.events import PAY_EVENTS
from paybell.messaging.failure_rows import TAKEN_SECONDS
from paybell.messaging.failures import Chosen
from paybell.messaging.handover import Handover
from paybell.messaging.rabbitmq.broker import RabbitBroker
from paybell.pay.overdue import OverdueCloser
from paybell.pay.status import PayStatus
from paybell.storage import Database, Query
from paybell.testing import FrozenClock
from paybell.tokens import Principal
from paybell.verification.ledger_check import trial_balance
from paybell.wallet.errors import WalletExists
from paybell.wallet.ledger import BalancePoster
from paybell.wallet.routes import topped_up

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]

MERCHANT = Principal("merchant", frozenset({"pay-orders:write"}), "1")
FUNDS, PRICE, BACK = 250, 100, 40
SHORT_SECONDS, ROUND = 5, timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Urls:
    """Where everything is; goes to the processes that die."""

    pay: str
    trade: str
    broker: str


class Way:
    """One buyer's orders on their whole way; each stage can be done again, also half done.

    ``paid`` is heard of at once, ``poison`` fails until it is dead and is applied when replayed,
    ``poor`` cannot be paid and is closed, ``late`` falls due.
    """

    def __init__(
        self, side: PaySide, broker: RabbitBroker, book: Notebook, clock: FrozenClock, number: int
    ) -> None:
        """Begin with nothing done."""
        self.side, self.broker, self.book, self.clock = side, broker, book, clock
        self.buyer = f"buyer-{number}"
        self.paid, self.poison, self.poor, self.late = range(10 * number, 10 * number + 4)
        self.ids: list[int] = []
        self.handover = Handover(SystemClock())
        side.outbox.hand_to(self.handover)
        self.handover.open()

    async def fund(self) -> None:
        """Open the wallet and put money in."""
        with suppress(WalletExists):
            await self.side.wallets.open(self.buyer, PASSWORD)
        await self.side.wallets.top_up(
            self.buyer, FUNDS, None, IdempotencyKey.of("test", "top-up", self.buyer, b""), topped_up
        )

    async def order(self) -> None:
        """Apply for the pay orders."""
        await asyncio.gather(*map(self._apply, (self.paid, self.poison, self.poor, self.late)))
        rows = await self.side.database.fetch(
            Query("SELECT id FROM pay_orders WHERE payer_id = $1 ORDER BY biz_order_no"), self.buyer
        )
        self.ids = [row["id"] for row in rows]

    async def _apply(self, number: int) -> None:
        ttl_seconds = SHORT_SECONDS if number == self.late else 600
        with suppress(AlreadyPaid, PayOrderClosed):
            await self.side.order(number, self.buyer, PRICE, ttl_seconds=ttl_seconds)

    async def settle(self) -> None:
        """Try to pay three of them in one batch, one of them twice."""
        first, second, poor, _ = self.ids
        outcomes = await self.side.pay.settle_batch(
            [payment(order, self.buyer) for order in (first, second, first, poor)]
        )
        *paid, refused = codes(outcomes)
        assert paid == ["paid"] * 3
        assert refused in ("insufficient_balance", "pay_order_closed")

    async def refund(self) -> None:
        """Give some of the first payment back; too little to pay the poor one."""
        (answer,) = codes([await self.side.refund(self.ids[0], BACK)])
        assert answer == "paid"

    async def close(self) -> None:
        """Close what cannot be paid."""
        await self.side.pay.close(self.ids[2], MERCHANT, "")

    async def expire(self) -> None:
        """Let the last one fall due."""
        self.clock.advance(SHORT_SECONDS)
        while await OverdueCloser(self.side.database, self.side.outbox).run_once():
            pass

    async def tell(self) -> None:
        """Publish what waits."""
        outbox = relay(
            *(self.side.outbox, self.broker),
            declares=Topology([BINDING.exchange, PAY_EVENTS], [BINDING]),
            handover=self.handover,
        )
        while await pending(self.side):
            await outbox.run_once()

    async def hear(self) -> None:
        """Take deliveries until both payments are on disk, applied or kept."""
        self.book.fails[self.poison] = RuntimeError("poison")
        await self.broker.declare(Topology([BINDING.exchange], [BINDING]))
        async with self.broker.consume(BINDING.queue.name, 100) as consumer:
            while not await self._heard():
                deliveries = await consumer.receive(50)
                await self.book.runner.apply(deliveries)
                await consumer.acknowledge(deliveries)

    async def give_up(self) -> None:
        """Try the failed one until it is dead."""
        self.book.fails[self.poison] = RuntimeError("poison")
        for wait in LISTENER_RETRY_SECONDS:
            self.clock.advance(wait)
            await self.book.runner.retry_once()

    async def replay(self) -> None:
        """Hand it to the listener again."""
        await self.book.failures.replay(Chosen(reason="listener_failed"), "operator")

    async def mend(self) -> None:
        """Try it without what made it fail; once more when whoever died with it in hand has it no more."""
        self.book.fails.clear()
        for wait in (LISTENER_RETRY_SECONDS[-1], TAKEN_SECONDS):
            self.clock.advance(wait)
            await self.book.runner.retry_once()

    async def fold(self) -> None:
        """Fold the merchant's postings."""
        await BalancePoster(self.side.database).run_once()

    async def _heard(self) -> bool:
        kept = {int(row["body"]) for row in await self.book.kept()}
        return {self.paid, self.poison} <= {*await self.book.written(), *kept}


STAGES: dict[str, Callable[[Way], Awaitable[None]]] = {
    "fund": Way.fund,
    "order": Way.order,
    "settle": Way.settle,
    "refund": Way.refund,
    "close": Way.close,
    "expire": Way.expire,
    "relay": Way.tell,
    "listen": Way.hear,
    "retry until dead": Way.give_up,
    "replay": Way.replay,
    "retry": Way.mend,
    "fold": Way.fold,
}


@asynccontextmanager
async def opened_way(urls: Urls, number: int) -> AsyncIterator[Way]:
    """Open everything as a process does; each round has an hour of its own."""
    clock = FrozenClock(datetime(2026, 1, 1, tzinfo=UTC) + number * ROUND)
    broker = RabbitBroker(urls.broker)
    try:
        async with Database.open(urls.pay, clock) as database, notebook(urls.trade, clock, broker) as book:
            side = PaySide(database, first_id=1_000 * number + 1)
            yield Way(side, broker, book, clock, number)
    finally:
        await broker.close()


@asynccontextmanager
async def dying(number: int, urls: Urls, stage: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Come as far as a stage, which is what the process will die of."""
    async with opened_way(urls, number) as way:
        for name, do in STAGES.items():
            if name == stage:
                break
            await do(way)
        yield partial(do, way)


async def one_outcome(way: Way) -> None:
    """Assert what is true of every round, whatever died."""
    assert await way.side.balance(way.buyer) == FUNDS - 2 * PRICE + BACK
    rows = await way.side.database.fetch(
        Query("SELECT biz_order_no, status FROM pay_orders WHERE payer_id = $1 ORDER BY 1"), way.buyer
    )
    statuses = [PayStatus(row["status"]).name for row in rows]
    assert statuses == ["TRADE_SUCCESS", "TRADE_SUCCESS", "TRADE_CLOSED", "TRADE_CLOSED"]
    transfers = await way.side.database.fetch(
        Query("SELECT 1 FROM transfers WHERE kind = 'payment' AND reference = ANY($1::text[])"),
        [str(order) for order in way.ids],
    )
    assert len(transfers) == 2
    refunds = await way.side.database.fetch(
        Query("SELECT amount FROM refunds WHERE pay_order_id = $1"), way.ids[0]
    )
    assert [row["amount"] for row in refunds] == [BACK]
    written = await way.book.written()
    assert (written.count(way.paid), written.count(way.poison)) == (1, 1)
    assert await trial_balance(way.side.database)
    assert await pending(way.side) == 0
    assert await way.book.kept() == []


async def gone(url: str, backends: int) -> bool:
    """Say whether the server has noticed that the dead process's sessions are nobody's."""
    async with connected(url) as rows:
        count = await rows.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    return bool(count <= backends)


@pytest.mark.parametrize("stage", STAGES)
async def test_killed_at_any_step_and_started_again_nothing_is_lost_or_done_twice(
    stage: str, pay_url: str, trade_url: str, rabbitmq_url: str
) -> None:
    urls = Urls(pay_url, trade_url, rabbitmq_url)
    steps = 0

    async for step in every_step(dying, urls, stage):
        for url in (pay_url, trade_url):
            await until(partial(gone, url, 0))
        await expire_leases(pay_url)
        async with opened_way(urls, step) as way:
            for do in STAGES.values():
                await do(way)
            await one_outcome(way)
        steps = step

    assert steps > 2, "there is no step to die at"
