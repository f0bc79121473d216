"""Paybell against a model of a few lines: whatever is asked in whatever order, both say the same.

One step is one thing asked of Paybell: a payment, a top-up, a delivery. The model says each answer
before it comes; after every rule both databases must hold exactly what the model holds.
"""

import asyncio
import random
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from relaying import relay
from shop import SECRET
from support import PASSWORD, PaySide, cases, codes, payment, seeded

from paybell.errors import PaybellError
from paybell.idempotency.keys import IdempotencyKey
from paybell.messaging.broker import Confirm, Delivery, Message
from paybell.messaging.events import PaymentSucceeded, topology
from paybell.messaging.listener_runner import ListenerRunner
from paybell.messaging.local import LocalBroker
from paybell.messaging.signatures import EventKeys
from paybell.pay.model import Application, PayOrder
from paybell.pay.overdue import OverdueCloser
from paybell.pay.status import PayStatus
from paybell.settings import read_settings
from paybell.storage import Database, Query
from paybell.telemetry.observers import Observer
from paybell.testing import FrozenClock
from paybell.tokens import Principal, Tokens
from paybell.trade import store as trade_store
from paybell.trade.model import Purchase
from paybell.trade.pay_client import PayClient
from paybell.trade.payment_listener import PaymentProof, payment_listener
from paybell.verification.ledger_check import trial_balance
from paybell.wallet.ledger import BalancePoster
from paybell.wallet.pay_password import LOCK, TRIES_MAX
from paybell.wallet.routes import topped_up

STEPS = cases(200_000)
WRONG = "000000"
MERCHANT = Principal("merchant", frozenset({"pay-orders:write"}), "1")
Result = TypeVar("Result")


class Post(LocalBroker):
    """Takes messages and leaves it to the test when, how often and in which order they arrive."""

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__()
        self.taken: list[Message] = []

    async def publish(self, messages: Sequence[Message], deadline_seconds: float) -> Sequence[Confirm]:
        """Take them."""
        del deadline_seconds
        self.taken += [message for message in messages if message.exchange == "pay.direct"]
        return [Confirm.CONFIRMED] * len(messages)


@dataclass(slots=True)
class World:
    """Both services on their databases, and one event loop for all of it."""

    loop: asyncio.Runner
    clock: FrozenClock
    side: PaySide
    closer: OverdueCloser
    poster: BalancePoster
    post: Post
    trade: Database
    runner: ListenerRunner[PaymentSucceeded]
    steps: int = 0
    machines: int = 0

    def do(self, work: Awaitable[Result]) -> Result:
        """Run it to its end."""

        async def run() -> Result:
            return await work

        return self.loop.run(run())


@contextmanager
def opened(pay_url: str, trade_url: str) -> Iterator[World]:
    """Open everything on databases of this test alone."""
    clock = FrozenClock()
    with asyncio.Runner() as loop:
        stack = AsyncExitStack()

        async def build() -> World:
            pay = await stack.enter_async_context(Database.open(pay_url, clock))
            trade = await stack.enter_async_context(Database.open(trade_url, clock))
            tokens = Tokens.from_settings(read_settings({}, jwt_secret=SECRET), clock)
            # Everything is signed, so that nobody is ever asked.
            client = await stack.enter_async_context(PayClient.open("http://127.0.0.1:9", tokens, clock))
            side, post = PaySide(pay), Post()
            (binding,) = topology().bindings
            proof = PaymentProof(trade, "1", EventKeys(token_secret=SECRET), client)
            runner = ListenerRunner(
                payment_listener(binding, proof), post, trade, clock, Observer(), batch_max=500
            )
            closer = OverdueCloser(pay, side.outbox)
            return World(loop, clock, side, closer, BalancePoster(pay), post, trade, runner)

        yield loop.run(build())
        loop.run(stack.aclose())


@dataclass(slots=True)
class Wallet:
    """What a wallet should be."""

    user_id: str
    balance: int = 0
    tries: int = 0
    locked_until: datetime | None = None
    top_ups: int = 0

    def attempt(self, now: datetime, *, right: bool) -> str:
        """Say what a pay password comes to; empty if it may pass."""
        if self.locked_until and now < self.locked_until:
            return "pay_password_locked"
        if self.locked_until or right:
            self.tries, self.locked_until = 0, None
        if right:
            return ""
        self.tries += 1
        if self.tries == TRIES_MAX:
            self.locked_until = now + LOCK
        return "wrong_pay_password"


@dataclass(slots=True)
class Order:
    """What an order should be, in both services."""

    number: int
    wallet: Wallet
    amount: int
    expires_at: datetime
    id: int = 0
    status: str = "WAIT_BUYER_PAY"
    refunded: int = 0
    heard: bool = False

    def refusal(self, now: datetime) -> str:
        """Say why it cannot be paid any more."""
        return "pay_order_closed" if self.status == "TRADE_CLOSED" or now >= self.expires_at else ""


@dataclass(slots=True)
class Model:
    """What everything should be."""

    wallets: list[Wallet]
    orders: list[Order] = field(default_factory=list)
    post: list[Message] = field(default_factory=list)


SETTINGS = settings(
    max_examples=50,
    stateful_step_count=50,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
pick = st.integers(0, 10**6)
users = st.integers(0, 3)
# Many choices out of one: drawing each of them would take longer than what is tested.
dice = st.integers(0, 2**32).map(random.Random)
AMOUNTS = [1, 2, 5, 30, 100]


_WALLETS = Query(
    "SELECT owner_id, credits - debits, failed_tries, locked_until "
    "FROM accounts JOIN wallets ON account_id = id WHERE owner_id = ANY($1::text[]) ORDER BY owner_id"
)
_ORDERS = Query("SELECT id, status, refunded_amount FROM pay_orders WHERE id = ANY($1::bigint[]) ORDER BY id")
_TRANSFERS = Query(
    "SELECT reference::bigint, amount FROM transfers "
    "WHERE kind = 'payment' AND reference = ANY($1::text[]) ORDER BY 1"
)
_MARKED = Query("SELECT id FROM orders WHERE id = ANY($1::bigint[]) AND status = 'PAID' ORDER BY id")


class Machine(RuleBasedStateMachine):
    """What can be asked, in any order; each life has wallets and orders of its own."""

    world: World

    def __init__(self) -> None:
        """Open wallets nobody had before."""
        super().__init__()
        self.world.machines += 1
        self.base = self.world.machines * 1_000_000
        self.model = Model([Wallet(f"{self.base}-{user}") for user in range(4)])
        for wallet in self.model.wallets:
            self._do(self.world.side.wallets.open(wallet.user_id, PASSWORD))

    def _do(self, work: Awaitable[Result], steps: int = 1) -> Result:
        self.world.steps += steps
        return self.world.do(work)

    def _now(self) -> datetime:
        return self.world.clock.now()

    def _order(self, index: int) -> Order | None:
        return self.model.orders[index % len(self.model.orders)] if self.model.orders else None

    @rule(count=st.integers(1, 100), dice=dice)
    def order(self, count: int, dice: random.Random) -> None:
        """Create orders at both services."""
        made = [
            Order(
                self.base + len(self.model.orders) + place,
                dice.choice(self.model.wallets),
                dice.choice(AMOUNTS),
                self._now() + timedelta(seconds=dice.choice([5, 600])),
            )
            for place in range(count)
        ]

        async def create() -> list[tuple[PayOrder, bool]]:
            purchases = [Purchase(one.number, one.wallet.user_id, one.amount, "CNY", "") for one in made]
            now = self._now()
            await trade_store.insert(self.world.trade, purchases, now, now + timedelta(days=365))
            return await asyncio.gather(*(self.world.side.pay.apply(self._application(one)) for one in made))

        for one, (order, created) in zip(made, self._do(create(), len(made)), strict=True):
            assert created
            one.id = order.id
        self.model.orders += made

    def _application(self, order: Order, more: int = 0) -> Application:
        ttl_seconds = max(1, int((order.expires_at - self._now()).total_seconds()))
        return Application(
            "1", order.number, order.wallet.user_id, order.amount + more, "CNY", "", ttl_seconds
        )

    @rule(index=pick, more=st.integers(0, 1))
    def order_again(self, index: int, more: int) -> None:
        """Ask for a pay order that exists: the same, or with another amount."""
        order = self._order(index)
        if order is None:
            return
        paid = "already_paid" if order.status == "TRADE_SUCCESS" else order.refusal(self._now())
        expected = "pay_order_mismatch" if more else paid or (order.id, False)

        async def again() -> object:
            try:
                there, created = await self.world.side.pay.apply(self._application(order, more))
            except PaybellError as error:
                return error.code
            return there.id, created

        assert self._do(again()) == expected

    @rule(wanted=st.lists(st.tuples(users, st.sampled_from(AMOUNTS), st.booleans()), min_size=1, max_size=5))
    def top_up(self, wanted: list[tuple[int, int, bool]]) -> None:
        """Put money in, and sometimes the same money again."""
        for user, amount, again in wanted:
            wallet = self.model.wallets[user]
            wallet.top_ups += 1
            wallet.balance += amount
            key = IdempotencyKey.of("test", "top-up", f"{wallet.user_id}-{wallet.top_ups}", b"")
            answers = [
                self._do(self.world.side.wallets.top_up(wallet.user_id, amount, None, key, topped_up))
                for _ in range(1 + again)
            ]
            assert [replayed for _, replayed in answers] == [False, True][: len(answers)]
            assert answers[0][0] == answers[-1][0]

    @rule(count=st.integers(1, 2_000), dice=dice)
    def pay(self, count: int, dice: random.Random) -> None:
        """Try to pay, all in one batch: orders several times, as strangers, with wrong passwords."""
        if not self.model.orders:
            return
        requests, expected = [], []
        for _ in range(count):
            order, right = dice.choice(self.model.orders), dice.random() < 0.9
            payer = order.wallet if dice.random() < 0.9 else dice.choice(self.model.wallets)
            requests.append(payment(order.id, payer.user_id, PASSWORD if right else WRONG))
            expected.append(self._pays(order, payer, right=right))
        outcomes = self._do(self.world.side.pay.settle_batch(requests), len(requests))
        assert codes(outcomes) == expected

    def _pays(self, order: Order, payer: Wallet, *, right: bool) -> str:
        if payer is not order.wallet:
            return "not_the_payer"
        if order.status == "TRADE_SUCCESS":
            return "paid"
        refusal = order.refusal(self._now()) or payer.attempt(self._now(), right=right)
        if refusal:
            return refusal
        if payer.balance < order.amount:
            return "insufficient_balance"
        payer.balance -= order.amount
        order.status = "TRADE_SUCCESS"
        return "paid"

    @rule(count=st.integers(1, 3), dice=dice)
    def refund(self, count: int, dice: random.Random) -> None:
        """Give some back, or all, or more than there is left."""
        for _ in range(count if self.model.orders else 0):
            order = dice.choice(self.model.orders)
            amount = dice.choice([1, order.amount, max(1, order.amount - order.refunded)])
            expected = self._refunds(order, amount)
            number = f"{self.world.steps}"
            assert codes([self._do(self.world.side.refund(order.id, amount, number))]) == [expected]

    def _refunds(self, order: Order, amount: int) -> str:
        if order.status != "TRADE_SUCCESS":
            return "pay_order_not_paid"
        if order.refunded + amount > order.amount:
            return "refund_exceeds_payment"
        order.refunded += amount
        order.wallet.balance += amount
        return "paid"

    @rule(index=pick)
    def close(self, index: int) -> None:
        """Close as the merchant."""
        order = self._order(index)
        if order is None:
            return
        expected = "already_paid" if order.status == "TRADE_SUCCESS" else "TRADE_CLOSED"

        async def close() -> str:
            try:
                return (await self.world.side.pay.close(order.id, MERCHANT, "")).status.name
            except PaybellError as error:
                return error.code

        assert self._do(close()) == expected
        if expected == "TRADE_CLOSED":
            order.status = expected

    @rule(seconds=st.sampled_from([1, 5, 60, 1_800]))
    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.world.clock.advance(seconds)

    @rule()
    def expire(self) -> None:
        """Close what is overdue, whosever it is, and fold the merchants' postings."""
        while self._do(self.world.closer.run_once()):
            pass
        self._do(self.world.poster.run_once())
        for order in self.model.orders:
            if order.status == "WAIT_BUYER_PAY" and self._now() >= order.expires_at:
                order.status = "TRADE_CLOSED"

    @rule(dice=dice, again=st.booleans(), share=st.sampled_from([0.3, 1.0]))
    def hear(self, dice: random.Random, again: bool, share: float) -> None:
        """Publish what waits, and deliver some of it, in any order, sometimes what was delivered before."""
        self.model.post += self._published()
        dice.shuffle(self.model.post)
        now, later = (
            self.model.post[: round(share * len(self.model.post))],
            self.model.post[round(share * len(self.model.post)) :],
        )
        deliveries = [
            Delivery(tag, m.exchange, m.routing_key, m.body, m.content_type, m.message_id, m.headers)
            for tag, m in enumerate(now, 1)
        ]
        self._do(self.world.runner.apply(deliveries), len(deliveries))
        self.model.post = later + (now[:20] if again else [])
        numbers = {int(message.body) for message in now}
        for one in self.model.orders:
            one.heard |= one.number in numbers

    def _published(self) -> list[Message]:
        outbox = relay(self.world.side.outbox, self.world.post)
        while self._do(outbox.run_once(), 0):
            pass
        taken, self.world.post.taken = self.world.post.taken, []
        return taken

    @invariant()
    def both_databases_hold_what_the_model_holds(self) -> None:
        """Balances, tries, statuses on both sides, and one transfer for each paid order and no other."""
        wallets, orders, transfers, marked = self.world.do(self._everything())
        assert wallets == [(w.user_id, w.balance, w.tries, w.locked_until) for w in self.model.wallets]
        assert orders == [(one.id, one.status, one.refunded) for one in self.model.orders]
        paid = [one for one in self.model.orders if one.status == "TRADE_SUCCESS"]
        assert transfers == [(one.id, one.amount) for one in paid]
        assert marked == [(one.number,) for one in self.model.orders if one.heard]
        assert all(one.status == "TRADE_SUCCESS" for one in self.model.orders if one.heard)

    async def _everything(self) -> list[list[tuple[Any, ...]]]:
        ids = [order.id for order in self.model.orders]
        pay, trade = self.world.side.database, self.world.trade
        found = await asyncio.gather(
            pay.fetch(_WALLETS, [wallet.user_id for wallet in self.model.wallets]),
            pay.fetch(_ORDERS, ids),
            pay.fetch(_TRANSFERS, [str(one) for one in ids]),
            trade.fetch(_MARKED, [order.number for order in self.model.orders]),
        )
        wallets, orders, transfers, marked = ([tuple(row) for row in rows] for rows in found)
        named = [(one, PayStatus(status).name, refunded) for one, status, refunded in orders]
        return [wallets, named, transfers, marked]

    def teardown(self) -> None:
        """Nobody's money came from nowhere; and the next life hears nothing of this one."""
        self._published()
        assert self.world.do(trial_balance(self.world.side.database))


async def test_whatever_is_asked_in_whatever_order_is_what_the_model_says(
    pay_url: str, trade_url: str
) -> None:
    """At least `STEPS` steps; PAYBELL_TEST_SEED repeats a failing run."""
    dice = seeded()

    def run() -> int:
        with opened(pay_url, trade_url) as world:
            while world.steps < STEPS:
                machine = seed(dice.randrange(2**32))(type("Machine", (Machine,), {"world": world}))
                run_state_machine_as_test(machine, settings=SETTINGS)
            return world.steps

    assert await asyncio.to_thread(run) >= STEPS
