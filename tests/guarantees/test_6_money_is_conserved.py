"""Promise 6: money is neither made nor lost; a wallet never goes below zero."""

import asyncio
import random
from collections import Counter

import asyncpg
import pytest
from support import PASSWORD, PaySide, codes, connected, payment, seeded, until, waiting_for_locks

from paybell.errors import Refused
from paybell.idempotency.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from paybell.idempotency.keys import IdempotencyKey
from paybell.ids import new_traceparent
from paybell.money import AMOUNT_MAX, TOTAL_MAX
from paybell.pay.model import Application, PayOrder
from paybell.storage import ConstraintViolated, Database, Query
from paybell.tokens import Principal
from paybell.verification.ledger_check import trial_balance
from paybell.wallet import ledger
from paybell.wallet.errors import BalanceLimit
from paybell.wallet.ledger import BalancePoster, Transfer, TransferKind
from paybell.wallet.routes import topped_up

# Every payment of a merchant, every top-up of a currency: waiting for such a row would be a queue.
BOUND_SECONDS = 2.0


async def test_two_hundred_payments_of_one_from_a_balance_of_a_hundred(pay_database: Database) -> None:
    """Exactly a hundred succeed; two services with batches of their own compete for the wallet."""
    one, other = PaySide(pay_database, batch_max=7), PaySide(pay_database)
    await one.fund("7", 100)
    orders = await asyncio.gather(*(one.order(number, "7", 1) for number in range(1, 201)))

    outcomes = await asyncio.gather(
        *(side.attempt(order.id, "7") for order, side in zip(orders, [one, other] * 100, strict=True))
    )

    assert Counter(codes(outcomes)) == {"paid": 100, "insufficient_balance": 100}
    assert await one.balance("7") == 0
    assert await trial_balance(pay_database)


async def test_two_payments_that_meet_at_one_wallet_see_each_other(
    pay_database: Database, pay_url: str
) -> None:
    """The second comes back until the first has done, and then decides by what is left of the balance."""
    one, other = PaySide(pay_database), PaySide(pay_database)
    await one.fund("7", 100)
    orders = [await one.order(number, "7", 100) for number in (1, 2)]

    async with connected(pay_url) as holding:
        async with holding.transaction():
            await holding.execute("LOCK TABLE transfers IN SHARE MODE")  # the first stops where it pays
            first = asyncio.create_task(one.attempt(orders[0].id, "7"))
            await until(lambda: waiting_for_locks(holding, 1))
            assert codes(await other.pay.settle_batch([payment(orders[1].id, "7")])) == ["busy"]
            second = asyncio.create_task(other.attempt(orders[1].id, "7"))
        outcomes = await asyncio.gather(first, second)

    assert codes(outcomes) == ["paid", "insufficient_balance"]
    assert await one.balance("7") == 0


async def test_a_wallet_cannot_be_overdrawn_whatever_the_program_decides(pay_database: Database) -> None:
    """The schema refuses it, and nothing of that batch is written."""
    side = PaySide(pay_database)
    await side.fund("7", 100)
    await side.fund("8", 100)
    order = await side.order(5001, "7", 101)
    async with pay_database.transaction() as tx:
        wallets = await ledger.lock_wallets(tx, [("7", "CNY"), ("8", "CNY")])
    batch = [
        Transfer(TransferKind.PAYMENT, reference, wallets[owner, "CNY"].account_id, order.payee_account, n)
        for reference, owner, n in (("1", "8", 100), ("2", "7", 50), ("3", "7", 51))
    ]

    with pytest.raises(ConstraintViolated, match="account_never_overdrawn"):
        async with pay_database.transaction() as tx:
            await ledger.post(tx, batch)

    assert (await side.balance("7"), await side.balance("8")) == (100, 100)
    assert await trial_balance(pay_database)


@pytest.mark.parametrize(
    ("amount", "to_itself", "rule"),
    [(0, False, "amount"), (-5, False, "amount"), (5, True, "between_two_accounts")],
)
async def test_a_transfer_moves_something_somewhere(
    pay_database: Database, amount: int, to_itself: bool, rule: str
) -> None:
    """A negative one would be a debit in disguise."""
    side = PaySide(pay_database)
    await side.fund("7", 100)
    order = await side.order(5001, "7", 50)
    async with pay_database.transaction() as tx:
        wallet = (await ledger.lock_wallets(tx, [("7", "CNY")]))["7", "CNY"].account_id

    payee = wallet if to_itself else order.payee_account
    with pytest.raises(ConstraintViolated, match=rule):
        async with pay_database.transaction() as tx:
            await ledger.post(tx, [Transfer(TransferKind.PAYMENT, "1", wallet, payee, amount)])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE transfers SET amount = amount + 1",
        "DELETE FROM transfers",
        "TRUNCATE transfers CASCADE",
        "DELETE FROM accounts",
        "TRUNCATE accounts CASCADE",
    ],
)
async def test_history_cannot_be_changed(pay_database: Database, pay_url: str, statement: str) -> None:
    """Not even by the owner of the tables with a statement of their own."""
    side = PaySide(pay_database)
    await side.fund("7", 100)

    async with connected(pay_url) as connection:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="is append-only"):
            await connection.execute(statement)

    assert await side.balance("7") == 100


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE accounts SET credits = credits + 1 WHERE kind = 'wallet'",
        "UPDATE accounts SET debits = debits + 1, credits = credits + 1 WHERE kind = 'wallet'",
        "DELETE FROM pending_postings WHERE credits > 0",
        "UPDATE pending_postings SET account_id = account_id % 2 + 1 WHERE credits > 0",
        "UPDATE transfers SET amount = amount - 1 WHERE kind = 'payment'",
        "DELETE FROM transfers WHERE kind = 'payment'",
    ],
)
async def test_the_trial_balance_notices(pay_database: Database, pay_url: str, forgery: str) -> None:
    """It compares what accounts hold with what transfers moved, so a forgery has to be in both."""
    side = PaySide(pay_database)
    await side.fund("7", 100)
    await side.attempt((await side.order(5001, "7", 60)).id, "7")
    assert await trial_balance(pay_database)

    async with connected(pay_url) as connection:
        await connection.execute("SET session_replication_role = replica")  # as if without triggers
        assert await connection.execute(forgery) in ("UPDATE 1", "DELETE 1")

    assert not await trial_balance(pay_database)


async def test_folding_while_payments_run_keeps_the_books_exact(pay_database: Database) -> None:
    """At every moment each account and its postings equal its transfers; in the end nothing is pending."""
    side, posters = PaySide(pay_database, batch_max=5), [BalancePoster(pay_database) for _ in range(2)]
    await side.fund("7", 1_000)
    orders = await asyncio.gather(*(side.order(number, "7", 3) for number in range(1, 201)))
    paying = asyncio.gather(*(side.attempt(order.id, "7") for order in orders))
    exact = []
    while not paying.done():
        await asyncio.gather(*(poster.run_once() for poster in posters))
        exact.append(await trial_balance(pay_database))
    await posters[0].run_once()

    assert set(codes(await paying)) == {"paid"}
    assert exact == [True] * len(exact)
    assert await trial_balance(pay_database)
    rows = await pay_database.fetch(Query("SELECT kind, credits - debits AS balance FROM accounts"))
    assert {row["kind"]: row["balance"] for row in rows} == {
        "wallet": 400,
        "merchant": 600,
        "funding": -1_000,
    }
    assert await pay_database.fetch(Query("SELECT FROM pending_postings")) == []


@pytest.mark.parametrize("lock", ["FOR NO KEY UPDATE", "FOR UPDATE"])
async def test_paying_does_not_wait_for_the_merchants_row(
    pay_database: Database, pay_url: str, lock: str
) -> None:
    """Whoever holds the row of a popular merchant, however firmly, keeps nobody from applying or paying."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000)
    order = await side.order(5001, "7", 100)

    async with connected(pay_url) as connection, connection.transaction():
        await connection.execute(f"SELECT FROM accounts WHERE kind = 'merchant' {lock}")
        async with asyncio.timeout(BOUND_SECONDS):
            assert codes([await side.attempt(order.id, "7")]) == ["paid"]
            await side.order(5002, "7", 100)


@pytest.mark.parametrize("lock", ["FOR NO KEY UPDATE", "FOR UPDATE"])
async def test_topping_up_does_not_wait_for_the_funding_row(
    pay_database: Database, pay_url: str, lock: str
) -> None:
    side = PaySide(pay_database)
    await side.fund("7", 1_000)

    async with connected(pay_url) as connection, connection.transaction():
        await connection.execute(f"SELECT FROM accounts WHERE kind = 'funding' {lock}")
        async with asyncio.timeout(BOUND_SECONDS):
            await side.fund("8", 1_000)


async def merchants(side: PaySide, *merchant_ids: str) -> list[PayOrder]:
    """Return a pay order of 10 that "7" has paid to each of these merchants."""
    orders = []
    for number, merchant_id in enumerate(merchant_ids, 1):
        order, _ = await side.pay.apply(Application(merchant_id, number, "7", 10, "CNY", "", 600))
        assert codes([await side.attempt(order.id, "7")]) == ["paid"]
        orders.append(order)
    return orders


async def credits_of(database: Database) -> dict[str, int]:
    """Return what merchants' rows say they were credited, without what is pending."""
    rows = await database.fetch(Query("SELECT owner_id, credits FROM accounts WHERE kind = 'merchant'"))
    return {row["owner_id"]: row["credits"] for row in rows}


async def test_an_account_whose_totals_are_full_stops_no_other(
    pay_database: Database, pay_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its postings stay where they are, and those behind them are folded all the same."""
    monkeypatch.setattr(ledger, "POST_MAX", 2)
    side, poster = PaySide(pay_database), BalancePoster(pay_database)
    await side.fund("7", 1_000)
    while await poster.run_once():
        pass
    orders = await merchants(side, "1", "1", "1", "other")
    async with connected(pay_url) as rows:
        await rows.execute(
            "UPDATE accounts SET credits = $1, debits = $1 WHERE owner_id = '1'", TOTAL_MAX - 5
        )
    for _ in range(6):
        await poster.run_once()

    assert await credits_of(pay_database) == {"1": TOTAL_MAX - 5, "other": 10}
    pending = await pay_database.fetch(Query("SELECT account_id, credits FROM pending_postings"))
    assert [tuple(row) for row in pending] == [(orders[0].payee_account, 10)] * 3
    refunded = await side.refund(orders[0].id, 1)
    assert codes([refunded]) == ["merchant_insufficient_balance"]


async def test_a_merchant_whose_row_is_held_keeps_its_postings_and_no_others(
    pay_database: Database, pay_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "POST_MAX", 2)
    side, poster = PaySide(pay_database), BalancePoster(pay_database)
    await side.fund("7", 1_000)
    await merchants(side, "held", "held", "held", "other")

    async with connected(pay_url) as stranger, stranger.transaction():
        await stranger.execute("SELECT FROM accounts WHERE owner_id = 'held' FOR UPDATE")
        async with asyncio.timeout(BOUND_SECONDS):
            for _ in range(6):
                await poster.run_once()
        assert await credits_of(pay_database) == {"held": 0, "other": 10}
    for _ in range(6):
        await poster.run_once()
    assert await credits_of(pay_database) == {"held": 30, "other": 10}
    assert await trial_balance(pay_database)


NAMING = {
    "a transfer's debit": "INSERT INTO transfers (kind, reference, debit_account, credit_account, amount,"
    " created_at) SELECT 'payment', 'x', 999999, min(id), 1, now() FROM accounts",
    "a transfer's credit": "INSERT INTO transfers (kind, reference, debit_account, credit_account, amount,"
    " created_at) SELECT 'payment', 'x', min(id), 999999, 1, now() FROM accounts",
    "a posting": "INSERT INTO pending_postings (account_id, debits, credits) VALUES (999999, 1, 0)",
    "a pay order": "INSERT INTO pay_orders (id, merchant_id, biz_order_no, payer_id, payee_account, amount,"
    " currency, subject, status, version, created_at, expires_at)"
    " VALUES (1, '1', 1, '7', 999999, 1, 'CNY', '', 1, 1, now(), now() + interval '1 h')",
}


@pytest.mark.parametrize("statement", NAMING.values(), ids=NAMING)
async def test_what_names_an_account_names_one_that_exists(
    pay_database: Database, pay_url: str, statement: str
) -> None:
    """Without a foreign key, whose check would lock the account's row."""
    await PaySide(pay_database).fund("7", 1_000)

    async with connected(pay_url) as rows:
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await rows.execute(statement)


async def test_an_account_is_never_removed_and_never_becomes_another(
    pay_database: Database, pay_url: str
) -> None:
    await PaySide(pay_database).fund("7", 1_000)

    async with connected(pay_url) as rows:
        for change in (
            "DELETE FROM accounts",
            "TRUNCATE accounts CASCADE",
            "UPDATE accounts SET id = DEFAULT",
            "UPDATE accounts SET owner_id = '8'",
            "UPDATE accounts SET kind = 'merchant'",
        ):
            with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="append-only"):
                await rows.execute(change)


async def test_a_top_up_is_made_once_for_each_key(pay_database: Database) -> None:
    """However often and concurrently it is sent; the same key for another wallet's request is refused."""
    side = PaySide(pay_database)
    await side.fund("7", 0)
    key = IdempotencyKey.of("till", "top-up", "key-1", b"100")

    async def top_up() -> object:
        try:
            return (await side.wallets.top_up("7", 100, None, key, topped_up))[0]
        except IdempotencyKeyInUse as error:
            return error

    answers = await asyncio.gather(*(top_up() for _ in range(20)))
    last = await top_up()

    assert {answer for answer in answers if not isinstance(answer, IdempotencyKeyInUse)} == {last}
    assert await side.balance("7") == 100
    with pytest.raises(IdempotencyKeyReused):
        await side.wallets.top_up(
            "7", 200, None, IdempotencyKey.of("till", "top-up", "key-1", b"200"), topped_up
        )
    assert await side.balance("7") == 100


async def test_a_top_up_is_not_made_again_when_its_answer_is_forgotten(
    pay_database: Database, pay_url: str
) -> None:
    """Keys are removed some day, transfers never are: the reference still knows it."""
    side = PaySide(pay_database)
    await side.fund("7", 100)
    async with connected(pay_url) as connection:
        assert await connection.execute("DELETE FROM idempotency_keys") == "DELETE 1"

    with pytest.raises(IdempotencyKeyReused):
        await side.wallets.top_up(
            "7", 100, "CNY", IdempotencyKey.of("test", "top-up", "7-CNY", b""), topped_up
        )
    assert await side.balance("7") == 100


async def test_a_wallet_never_outgrows_its_column(pay_database: Database, pay_url: str) -> None:
    """The totals are 64 bits; what would not fit is refused, not an error of the database."""
    side = PaySide(pay_database)
    await side.fund("7", 1)
    async with connected(pay_url) as connection:
        await connection.execute(
            "UPDATE accounts SET credits = $1 WHERE kind = 'wallet'", TOTAL_MAX - AMOUNT_MAX
        )

    await side.wallets.top_up(
        "7", AMOUNT_MAX, None, IdempotencyKey.of("test", "top-up", "fits", b""), topped_up
    )
    assert await side.balance("7") == TOTAL_MAX
    with pytest.raises(BalanceLimit):
        await side.wallets.top_up(
            "7", 1, None, IdempotencyKey.of("test", "top-up", "too-much", b""), topped_up
        )


class History:
    """What happens to a handful of wallets, and a second set of books kept beside Paybell's."""

    users = ("a", "b", "c", "nobody")
    currencies = ("CNY", "JPY")

    def __init__(self, side: PaySide, rng: random.Random) -> None:
        """Nothing has happened."""
        self.side = side
        self.rng = rng
        self.orders: dict[int, tuple[str, str, int]] = {}
        self.books: Counter[tuple[str, str]] = Counter()
        self.paid: set[int] = set()
        self.refused: Counter[str] = Counter()

    async def open(self) -> None:
        """Everybody but nobody gets wallets."""
        for user in self.users[:-1]:
            for currency in self.currencies:
                await self.side.wallets.open(user, PASSWORD, currency)

    async def step(self, number: int) -> None:
        """Do one thing at random; refusals are part of the game."""
        act = self.rng.choice([self._top_up, self._apply, self._pay, self._pay, self._pay, self._close])
        try:
            await act(number)
        except Refused as refusal:
            self.refused[refusal.code] += 1

    async def _top_up(self, number: int) -> None:
        user, currency, amount = self._user(), self.rng.choice(self.currencies), self.rng.randint(1, 100)
        key = IdempotencyKey.of("till", "top-up", str(number % 50), f"{user}{currency}{amount}".encode())
        _, again = await self.side.wallets.top_up(user, amount, currency, key, topped_up)
        if not again:
            self.books[user, currency] += amount

    async def _apply(self, number: int) -> None:
        user, currency, amount = self._user(), self.rng.choice(self.currencies), self.rng.randint(1, 60)
        application = Application(self.rng.choice("12"), number, user, amount, currency, "", 600)
        order, _ = await self.side.pay.apply(application)
        self.orders[order.id] = user, currency, amount

    async def _pay(self, number: int) -> None:
        del number
        order_id = self.rng.choice([*self.orders, 99])
        user, currency, amount = self.orders.get(order_id, ("a", "CNY", 0))
        asked_by = user if self.rng.random() < 0.95 else "c"
        password = PASSWORD if self.rng.random() < 0.97 else "000000"
        await self.side.pay.pay(payment(order_id, asked_by, password))
        if order_id not in self.paid:
            self.paid.add(order_id)
            self.books[user, currency] -= amount

    async def _close(self, number: int) -> None:
        del number
        merchant = Principal("shop", frozenset(), self.rng.choice("12"))
        await self.side.pay.close(self.rng.choice([*self.orders, 99]), merchant, new_traceparent())

    def _user(self) -> str:
        return self.rng.choices(self.users, [5, 5, 5, 1])[0]


async def test_any_history_of_top_ups_and_payments_leaves_the_books_exact(pay_database: Database) -> None:
    """Random requests, many of them refused, eight at a time; our own second books agree with the ledger."""
    side = PaySide(pay_database, batch_max=8)
    history = History(side, seeded())
    await history.open()
    poster = BalancePoster(pay_database)

    for start in range(1, 401, 8):
        await asyncio.gather(*(history.step(number) for number in range(start, start + 8)))
        await poster.run_once()
        assert await trial_balance(pay_database)

    rows = await pay_database.fetch(
        Query("SELECT owner_id, currency, credits - debits AS balance FROM accounts WHERE kind = 'wallet'")
    )
    assert {(row["owner_id"], row["currency"]): row["balance"] for row in rows} == {
        (user, currency): history.books[user, currency]
        for user in history.users[:-1]
        for currency in history.currencies
    }
    assert min(history.books.values()) >= 0
    assert len(history.paid) > 5
    assert sum(history.refused.values()) > 20
