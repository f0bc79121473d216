"""Top-ups that share a transaction have each their own outcome, as if each had been alone."""

import asyncio
from collections.abc import Awaitable, Sequence

import pytest
from support import PaySide, connected

from paybell.idempotency.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from paybell.idempotency.keys import IdempotencyKey, KeptAnswer
from paybell.money import AMOUNT_MAX, TOTAL_MAX
from paybell.storage import Database, Query
from paybell.wallet.errors import BalanceLimit, WalletNotFound
from paybell.wallet.routes import topped_up

pytestmark = pytest.mark.slow

TRANSACTIONS = Query(
    "SELECT transfers.xmin::text AS transaction, transfers.reference, kept.reference AS bank "
    "FROM transfers LEFT JOIN top_up_references AS kept ON kept.transfer_id = transfers.id"
)


async def top_up(
    side: PaySide, user: str, amount: int, key: str, *, request: bytes = b"", reference: str | None = None
) -> tuple[KeptAnswer, bool]:
    """Put money into a user's wallet under a merchant's key."""
    held = IdempotencyKey.of("1", f"POST /wallets/{user}/top-ups", key, request)
    return await side.wallets.top_up(user, amount, None, held, topped_up, reference=reference)


async def together(*top_ups: Awaitable[object]) -> Sequence[object]:
    """Return what each came to; all are there before the first transaction begins."""
    return await asyncio.gather(*top_ups, return_exceptions=True)


async def test_one_transaction_has_many_top_ups_each_with_its_own_outcome(pay_database: Database) -> None:
    side = PaySide(pay_database)
    for user in ("a", "b"):
        await side.wallets.open(user, "123456")
    first = await top_up(side, "a", 1, "first")
    await top_up(side, "a", 1, "second")

    outcomes = await together(
        top_up(side, "a", 10, "k0", reference="bank-0"),
        top_up(side, "a", 10, "k1", reference="bank-1"),
        top_up(side, "a", 10, "k1"),
        top_up(side, "b", 5, "k0"),
        top_up(side, "nobody", 5, "k0"),
        top_up(side, "a", 1, "first"),
        top_up(side, "a", 2, "second", request=b"another"),
        top_up(side, "b", 10, "k2"),
    )

    k0, k1, same, of_b, nobody, replayed, reused, k2 = outcomes
    balances = [answer[0].body for answer in (k0, k1, of_b, k2) if isinstance(answer, tuple)]
    assert [b'"balance":12' in balances[0], b'"balance":22' in balances[1]] == [True, True]
    assert [b'"balance":5' in balances[2], b'"balance":15' in balances[3]] == [True, True]
    assert isinstance(same, IdempotencyKeyInUse)
    assert isinstance(nobody, WalletNotFound)
    assert replayed == (first[0], True)
    assert isinstance(reused, IdempotencyKeyReused)
    assert [(await side.wallets.read(user)).balance for user in ("a", "b")] == [22, 15]
    assert await top_up(side, "a", 10, "k1") == (k1[0], True)  # type: ignore[index]
    rows = await pay_database.fetch(TRANSACTIONS)
    assert len({row["transaction"] for row in rows if row["reference"].startswith(("a k", "b k"))}) == 1
    assert {row["bank"] for row in rows} - {None} == {"bank-0", "bank-1"}


async def test_what_a_wallet_cannot_hold_is_refused_alone(pay_database: Database, pay_url: str) -> None:
    """The limit counts what is added by others of the same transaction."""
    side = PaySide(pay_database)
    await side.wallets.open("rich", "123456")
    async with connected(pay_url) as rows:
        await rows.execute("UPDATE accounts SET credits = $1, debits = $1", TOTAL_MAX - AMOUNT_MAX)

    fits, over = await together(top_up(side, "rich", AMOUNT_MAX, "fits"), top_up(side, "rich", 1, "over"))

    assert isinstance(fits, tuple)
    assert isinstance(over, BalanceLimit)
