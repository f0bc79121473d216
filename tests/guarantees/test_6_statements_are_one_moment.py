"""Promise 6, as an owner reads it: all pages of a statement show the account as it was at one moment."""

from datetime import timedelta

import pytest
from relaying import pay
from support import PaySide

from paybell.storage import Database, Query, Transaction
from paybell.wallet import statements
from paybell.wallet.statements import Line, Owner, Period, Place, Statements

MERCHANT = Owner("merchant", "1", "CNY")


async def write_early(tx: Transaction, name: str) -> None:
    """Write what a payment would that began before all others, and was slow."""
    await tx.execute(
        Query(
            "INSERT INTO transfers (kind, reference, debit_account, credit_account, amount, created_at) "
            "SELECT kind, $1, debit_account, credit_account, 7, created_at - $2::interval FROM transfers "
            "WHERE kind = 'payment' ORDER BY id LIMIT 1"
        ),
        name,
        timedelta(microseconds=1),
    )


def names(lines: list[Line]) -> list[str]:
    return [line.reference for line in lines]


@pytest.mark.parametrize("how", ["pages", "stream"])
async def test_what_commits_late_is_not_skipped_by_some_pages_and_shown_by_others(
    pay_database: Database, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Its time is before the cursor's: it is no part of a reading that has begun, but of the next one."""
    monkeypatch.setattr(statements, "_STREAM_PAGE", 2)
    side, reader = PaySide(pay_database), Statements(pay_database)
    await side.fund("7", 1_000)
    orders = [str((await pay(side, number))[0].id) for number in range(1, 6)]
    seen = list[str]()

    async with pay_database.transaction() as slow:
        await write_early(slow, "1")
        if how == "pages":
            first = await reader.page(MERCHANT, Period(), Place(), 2)
            seen += names(first.lines)
            assert first.next is not None
            after = Place.parse(first.next.text)
        else:
            stream = reader.stream(MERCHANT, Period())
            seen += names(list(await anext(stream)))
    async with pay_database.transaction() as later:
        await write_early(later, "2")
    orders += [str((await pay(side, 6))[0].id)]
    if how == "pages":
        rest = await reader.page(MERCHANT, Period(), after, 100)
        seen += names(rest.lines)
        assert rest.next is None
    else:
        seen += [name async for lines in stream for name in names(list(lines))]
    anew = await reader.page(MERCHANT, Period(), Place(), 100)

    assert seen == orders[:5]
    assert names(anew.lines) == ["1", "2", *orders]


async def test_a_cursor_of_an_earlier_release_begins_a_reading(pay_database: Database) -> None:
    side, reader = PaySide(pay_database), Statements(pay_database)
    await side.fund("7", 1_000)
    orders = [str((await pay(side, number))[0].id) for number in range(1, 4)]
    first = (await reader.page(MERCHANT, Period(), Place(), 1)).next
    assert first is not None

    rest = await reader.page(
        MERCHANT, Period(), Place.parse(f"{first.text.split('-')[0]}-{first.transfer_id}"), 9
    )

    assert names(rest.lines) == orders[1:]


async def test_a_rows_transaction_is_read_right_on_both_sides_of_a_wrap(pay_database: Database) -> None:
    """Transaction ids of rows have 32 bits, those of snapshots 64."""
    ends = 5 * 2**32 + 10
    rows = {ends - 1: True, ends - 20: True, ends - 2**31 + 1: True, ends: False, ends + 5: False, 3: True}

    found = {
        row: (
            await pay_database.fetch(
                Query("SELECT written_in($1::text::xid, $2::text::pg_snapshot) AS seen"),
                str(row % 2**32),
                f"{ends}:{ends}:",
            )
        )[0]["seen"]
        for row in rows
    }

    assert found == rows
