"""Promise 6, seen from outside: a bank's statement and our ledger are laid side by side."""

import pytest
from relaying import pay
from support import PaySide

from paybell.errors import InvalidRequest
from paybell.storage import Database
from paybell.verification.bank_file import Mismatch, match_statement

HEAD = "date,reference,amount,currency\n"


async def test_a_statement_that_agrees_matches_line_by_line(pay_database: Database) -> None:
    """Also when it is longer than a page."""
    side = PaySide(pay_database)
    await side.fund("7", 10_000_00)
    starts = range(1, 6_001, 2_000)
    orders = [order for start in starts for order in await pay(side, *range(start, start + 2_000))]
    lines = [f"2026-01-01,{order.id},100,CNY\n" for order in orders]

    result = await match_statement(pay_database, [HEAD, *lines], "payment")

    assert (result.lines, result.matched, result.mismatches) == (6_000, 6_000, [])


async def test_what_does_not_agree_is_listed_with_both_sides(pay_database: Database) -> None:
    """Missing here, missing there, another amount or currency, twice."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000)
    first, second, third, fourth, last = [(await pay(side, number))[0].id for number in range(1, 6)]
    text = [
        HEAD,
        f",{first},100,CNY\n",
        f",{third},99,CNY\n",
        f",{fourth},100,USD\n",
        ",4711,5,CNY\n",
        f",{last},100,CNY\n",
        f",{last},100,CNY\n",
    ]

    result = await match_statement(pay_database, text, "payment")

    assert (result.lines, result.matched) == (6, 2)
    assert result.mismatches == [
        Mismatch("different_amount", 3, str(third), "99 CNY", "100 CNY"),
        Mismatch("different_amount", 4, str(fourth), "100 USD", "100 CNY"),
        Mismatch("missing_here", 5, "4711", "5 CNY", ""),
        Mismatch("twice", 7, str(last), "100 CNY", "100 CNY"),
        Mismatch("missing_there", 0, str(second), "", "100 CNY"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "reference,amount\n",
        *(HEAD + line for line in (",1,1.5,CNY\n", ",1,-5,CNY\n", ",1,0,CNY\n", ",,5,CNY\n", ",1\n")),
    ],
)
async def test_a_file_that_cannot_be_read_is_named_with_its_line(pay_database: Database, text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"Line 2|missing: "):
        await match_statement(pay_database, text.splitlines(keepends=True), "payment")
