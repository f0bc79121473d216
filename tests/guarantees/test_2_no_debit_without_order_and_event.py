"""Promise 2: no debit without a paid order, no paid order without its event."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal, NamedTuple

import pytest
from faults import cutting_proxy
from support import PASSWORD, PaySide, codes, connected, payment

from paybell.clock import SystemClock
from paybell.errors import OutcomeUnknown
from paybell.pay.model import PayOrder
from paybell.pay.status import PayStatus
from paybell.storage import Database
from paybell.verification.ledger_check import trial_balance


class Step(NamedTuple):
    """One write of the paying transaction, and how to know the one that concerns order 13's payment."""

    event: str
    table: str
    when: str
    timing: str = "BEFORE"
    deferred: str = ""


STEPS = {
    "tries": Step("UPDATE", "wallets", "NEW.failed_tries = 0"),
    "transfer": Step("INSERT", "transfers", "NEW.amount = 8"),
    "debit": Step("UPDATE", "accounts", "NEW.owner_id = 'p13'"),
    "merchant's posting": Step("INSERT", "pending_postings", "NEW.credits & 8 <> 0"),
    "status": Step("UPDATE", "pay_orders", "NEW.biz_order_no = 13"),
    "event": Step("INSERT", "outbox", "NEW.subject = '13'"),
    "commit": Step("INSERT", "outbox", "NEW.subject = '13'", "AFTER", "INITIALLY DEFERRED"),
}
each_step = pytest.mark.parametrize("step", STEPS.values(), ids=list(STEPS))


@asynccontextmanager
async def broken(url: str, step: Step, fault: Literal["fails", "dies"]) -> AsyncIterator[None]:
    """Let the server fail at one step, or lose its backend there as in a crash."""
    what = {
        "fails": "RAISE EXCEPTION 'disk on fire'",
        "dies": "PERFORM pg_terminate_backend(pg_backend_pid())",
    }
    constraint = "CONSTRAINT" if step.deferred else ""
    async with connected(url) as connection:
        await connection.execute(
            f"""
            CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN {what[fault]}; RETURN NEW; END $$;
            CREATE {constraint} TRIGGER breaks {step.timing} {step.event} ON {step.table} {step.deferred}
                FOR EACH ROW WHEN ({step.when}) EXECUTE FUNCTION break()
            """
        )
        yield
        await connection.execute("DROP FUNCTION break() CASCADE")


async def eight_orders(side: PaySide) -> dict[int, PayOrder]:
    """Eight payers with 1000 each, who owe 1, 2, 4, ...; number 13 (8) has mistyped the password once."""
    orders = {}
    for number in range(10, 18):
        await side.fund(f"p{number}", 1_000)
        orders[number] = await side.order(number, f"p{number}", 1 << (number - 10))
    assert codes([await side.attempt(orders[13].id, "p13", "000000")]) == ["wrong_pay_password"]
    return orders


async def paid_numbers(url: str) -> list[int]:
    """Return which of the eight are paid, and make sure that order, money and event agree about each."""
    async with connected(url) as connection:
        rows = await connection.fetch(
            """
            SELECT biz_order_no, pay_orders.amount, pay_orders.status = 3 AS is_paid,
                   pay_orders.version = 2 AS has_version_of_paid,
                   accounts.credits - accounts.debits AS balance,
                   (SELECT count(*) FROM transfers
                    WHERE kind = 'payment' AND reference = pay_orders.id::text) AS transfers,
                   (SELECT count(*) FROM outbox WHERE subject = biz_order_no::text) AS events
            FROM pay_orders JOIN accounts ON owner_id = payer_id
            ORDER BY biz_order_no
            """
        )
    for row in rows:
        paid = row["is_paid"]
        assert row["has_version_of_paid"] == paid
        assert row["balance"] == 1_000 - row["amount"] * paid
        assert (row["transfers"], row["events"]) == (paid, paid)
    return [row["biz_order_no"] for row in rows if row["is_paid"]]


@each_step
async def test_a_step_that_fails_undoes_its_payment_and_no_other(
    pay_database: Database, pay_url: str, step: Step
) -> None:
    """The batch is halved until the bad payment stands alone; it can be paid once the fault is gone."""
    side = PaySide(pay_database)
    orders = await eight_orders(side)
    requests = [payment(order.id, order.payer_id) for order in orders.values()]

    async with broken(pay_url, step, "fails"):
        outcomes = await side.pay.settle_batch(requests)

    failed = [number for number, one in zip(orders, outcomes, strict=True) if isinstance(one, Exception)]
    assert failed == [13]
    assert await paid_numbers(pay_url) == [10, 11, 12, 14, 15, 16, 17]
    assert await trial_balance(pay_database)

    assert codes(await side.pay.settle_batch(requests)) == ["paid"] * 8
    assert await paid_numbers(pay_url) == list(orders)
    assert await trial_balance(pay_database)


@each_step
async def test_a_crash_at_a_step_leaves_nothing_of_the_batch(
    pay_database: Database, pay_url: str, step: Step
) -> None:
    """The connection dies in the middle: everybody is told to try again, and nothing has happened."""
    side = PaySide(pay_database)
    orders = await eight_orders(side)
    requests = [payment(order.id, order.payer_id) for order in orders.values()]

    async with broken(pay_url, step, "dies"):
        outcomes = await side.pay.settle_batch(requests)

    assert set(codes(outcomes)) == {"outcome_unknown" if step.deferred else "database_unavailable"}
    assert await paid_numbers(pay_url) == []
    async with connected(pay_url) as connection:
        assert await connection.fetchval("SELECT max(failed_tries) FROM wallets") == 1

    assert codes(await side.pay.settle_batch(requests)) == ["paid"] * 8
    assert await paid_numbers(pay_url) == list(orders)


async def test_a_payment_is_one_transaction(pay_database: Database, pay_url: str) -> None:
    """A second commit would be a moment in which half of it is done."""
    truth = PaySide(pay_database)
    await truth.fund("7", 1_000)
    orders = [await truth.order(number, "7", 100) for number in range(1, 6)]

    async with (
        cutting_proxy(pay_url) as proxy,
        Database.open(proxy.url, SystemClock(), connections=2) as database,
    ):
        await PaySide(database).pay.settle_batch([payment(order.id, "7") for order in orders])

    assert proxy.commits == 1
    assert await truth.balance("7") == 500


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_payment_whose_commit_is_cut_off_is_unknown_until_the_retry_finds_the_truth(
    pay_database: Database, pay_url: str, cut: Literal["before", "after"]
) -> None:
    """Done or not done, the same request again answers success, and the payer is debited once."""
    truth = PaySide(pay_database)
    await truth.fund("7", 1_000)
    order = await truth.order(5001, "7", 100)

    async with (
        cutting_proxy(pay_url) as proxy,
        Database.open(proxy.url, SystemClock(), connections=2) as database,
    ):
        side = PaySide(database)
        proxy.cut = cut
        first = await side.attempt(order.id, "7")
        done = await truth.balance("7") == 900
        again = await side.attempt(order.id, "7")

    assert proxy.cuts == 1
    assert isinstance(first, OutcomeUnknown)
    assert done == (cut == "after")
    assert isinstance(again, PayOrder)
    assert again.status is PayStatus.TRADE_SUCCESS
    assert await truth.balance("7") == 900
    async with connected(pay_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM outbox") == 1


async def test_a_wrong_password_is_counted_although_its_commit_was_cut_off(
    pay_database: Database, pay_url: str
) -> None:
    """Nobody gains a try by breaking the line: what the server committed is counted."""
    truth = PaySide(pay_database)
    await truth.fund("7", 1_000)
    order = await truth.order(5001, "7", 100)

    async with (
        cutting_proxy(pay_url) as proxy,
        Database.open(proxy.url, SystemClock(), connections=2) as database,
    ):
        proxy.cut = "after"
        answer = await PaySide(database).attempt(order.id, "7", "000000")

    assert isinstance(answer, OutcomeUnknown)
    refusal = await truth.attempt(order.id, "7", "000000")
    assert getattr(refusal, "extensions", {}) == {"triesLeft": 3}
    assert isinstance(await truth.attempt(order.id, "7", PASSWORD), PayOrder)
