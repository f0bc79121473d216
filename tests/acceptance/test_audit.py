"""The audit behind ``demo`` and ``replay`` finds what it is there to find."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio
from serving import fresh_databases, fresh_user, in_process
from support import Databases, connected

from paybell.clock import SystemClock
from paybell.verification.audit import Audit, audit

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLEAN = Audit(paid=2, debited=200, marked_paid=2, lost=0, duplicated=0, unfounded=0, ledger_balanced=True)
# Three orders, of which the first two were paid.
SECOND, THIRD = (f"id = (SELECT id FROM orders ORDER BY id LIMIT 1 OFFSET {n})" for n in (1, 2))  # noqa: S608 - our own numbers
MARK = "UPDATE orders SET status = 'PAID', paid_at = now() WHERE "
UNMARK = "UPDATE orders SET status = 'UNPAID', paid_at = NULL WHERE "
AGAIN = "SELECT listener, replace(event_id, ':', ':again:'), received_at FROM inbox LIMIT 1"
PAY_AGAIN = """
    ALTER TABLE transfers DROP CONSTRAINT transfer_once;
    INSERT INTO transfers (kind, reference, debit_account, credit_account, amount, created_at)
    SELECT kind, reference, debit_account, credit_account, amount, created_at
    FROM transfers WHERE kind = 'payment' LIMIT 1
"""
# Where and how the books are spoiled, what the audit must say of it, and how they are mended; what
# cannot be mended because of a trigger comes last.
SPOILED: list[tuple[str, str, dict[str, Any], str]] = [
    ("trade", UNMARK + SECOND, {"lost": 1, "marked_paid": 1}, MARK + SECOND),
    ("trade", MARK + THIRD, {"unfounded": 1, "marked_paid": 3}, UNMARK + THIRD),
    (
        "trade",
        f"INSERT INTO inbox {AGAIN}",
        {"duplicated": 1},
        "DELETE FROM inbox WHERE event_id LIKE '%again%'",
    ),
    (
        "pay",
        "UPDATE accounts SET debits = debits + 1 WHERE kind = 'wallet'",
        {"duplicated": 1, "ledger_balanced": False},
        "UPDATE accounts SET debits = debits - 1 WHERE kind = 'wallet'",
    ),
    ("pay", PAY_AGAIN, {"duplicated": 1, "debited": 300, "ledger_balanced": False}, "SELECT 1"),
]


@pytest_asyncio.fixture(loop_scope="session")
async def books(postgres: Databases) -> AsyncIterator[Mapping[str, str]]:
    """The databases of a service that has ended: two of its orders were paid."""
    urls = await fresh_databases(postgres)
    async with in_process(urls) as service:
        client, user = service.client, fresh_user()
        await client.fund(user, 1000)
        first, second, _ = [await client.order(user) for _ in range(3)]
        for order in (first, second):
            assert (await client.pay(order["payOrderId"], user)).status == 200
            await client.until_order(order["id"], "PAID")
    yield urls


async def test_the_audit_sees_everything_that_is_wrong_in_the_databases(books: Mapping[str, str]) -> None:
    assert await audit(books, "1", SystemClock()) == CLEAN

    for database, spoil, expected, mend in SPOILED:
        async with connected(books[database]) as connection:
            await connection.execute(spoil)
            found = await audit(books, "1", SystemClock())
            assert not found.clean
            assert {name: getattr(found, name) for name in expected} == expected, spoil
            await connection.execute(mend)


async def test_the_audit_of_some_orders_says_nothing_of_others(books: Mapping[str, str]) -> None:
    async with connected(books["trade"]) as connection:
        numbers = [row["id"] for row in await connection.fetch("SELECT id FROM orders ORDER BY id")]

    of_one = await audit(books, "1", SystemClock(), numbers[:1])
    of_none = await audit(books, "1", SystemClock(), [])

    assert (of_one.paid, of_one.debited, of_one.marked_paid) == (1, 100, 1)
    assert (of_none.paid, of_none.debited, of_none.marked_paid) == (0, 0, 0)
    assert of_one.clean
    assert of_none.clean
