"""Matches somebody else's statement, such as a bank's, against our transfers."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Literal

from paybell.errors import InvalidRequest
from paybell.money import AMOUNT_MAX
from paybell.storage import Database, Record, Transaction, load_queries

_SQL = load_queries(__package__, "bank_file.sql")
COLUMNS = ("reference", "amount", "currency")
_PAGE = 5_000
MISMATCHES_MAX = 10_000
_AMOUNT = re.compile(r"[0-9]{1,16}", re.ASCII)
Kind = Literal["payment", "refund", "top_up"]
What = Literal["missing_here", "missing_there", "different_amount", "twice"]


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One line of the file: a transfer's reference, and its amount in minor units."""

    line: int
    reference: str
    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What does not agree: ``line`` is that of the file, 0 for a transfer it lacks."""

    what: What
    line: int
    reference: str
    theirs: str
    ours: str


@dataclass(slots=True)
class Matched:
    """What a statement came to: all mismatches counted, the first `MISMATCHES_MAX` kept."""

    lines: int = 0
    matched: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    mismatches: list[Mismatch] = field(default_factory=list)
    first: datetime | None = None
    last: datetime | None = None

    def add(self, one: Mismatch) -> None:
        """Count a mismatch, and keep it while there is room."""
        self.counts[one.what] += 1
        if len(self.mismatches) < MISMATCHES_MAX:
            self.mismatches.append(one)


def read_statement(file: Iterable[str]) -> Iterator[StatementLine]:
    """Read a CSV with the columns reference, amount (minor units), currency; others are ignored.

    Raises:
        InvalidRequest: which line cannot be read.
    """
    reader = csv.DictReader(file)
    if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
        raise InvalidRequest(f"The file's first line must name its columns; missing: {', '.join(missing)}.")
    for row in reader:
        amount = (row["amount"] or "").strip()
        if not _AMOUNT.fullmatch(amount) or not 0 < int(amount) <= AMOUNT_MAX or not row["reference"]:
            raise InvalidRequest(
                f"Line {reader.line_num}: a reference, and an amount in whole minor units, are needed."
            )
        yield StatementLine(
            reader.line_num, row["reference"].strip(), int(amount), (row["currency"] or "").strip()
        )


async def match_statement(database: Database, file: Iterable[str], kind: Kind) -> Matched:
    """Match a file against all transfers of a kind, in one snapshot.

    Transfers that the file lacks are looked for between the first and the last that it has.

    Raises:
        InvalidRequest: the file cannot be read.
    """
    result = Matched()
    async with database.snapshot() as tx:
        await _load(tx, file, result)
        await _match(tx, kind, result)
        await _look_for_missing(tx, kind, result)
    return result


async def _load(tx: Transaction, file: Iterable[str], result: Matched) -> None:
    await tx.execute(_SQL["begin_statement"])
    reading = read_statement(file)
    while lines := _page(reading):
        result.lines += len(lines)
        await tx.execute(
            _SQL["add_lines"],
            [one.line for one in lines],
            [one.reference for one in lines],
            [one.amount for one in lines],
            [one.currency for one in lines],
        )
    await tx.execute(_SQL["end_statement"])


def _page(reading: Iterator[StatementLine]) -> list[StatementLine]:
    try:
        return list(islice(reading, _PAGE))
    except csv.Error as error:
        raise InvalidRequest(f"The file is no CSV: {error}.") from error


async def _match(tx: Transaction, kind: Kind, result: Matched) -> None:
    after = 0
    while rows := await tx.fetch(_SQL["match_lines"], kind, after, _PAGE):
        for row in rows:
            theirs, what = f"{row['amount']} {row['currency']}", _judge(row)
            if row["our_amount"] is not None:
                at = row["created_at"]
                result.first, result.last = min(result.first or at, at), max(result.last or at, at)
            if what is None:
                result.matched += 1
            else:
                ours = "" if row["our_amount"] is None else f"{row['our_amount']} {row['our_currency']}"
                result.add(Mismatch(what, row["line"], row["reference"], theirs, ours))
        after = rows[-1]["line"]


def _judge(row: Record) -> What | None:
    if row["our_amount"] is None:
        return "missing_here"
    if row["again"]:
        return "twice"
    if (row["amount"], row["currency"]) != (row["our_amount"], row["our_currency"]):
        return "different_amount"
    return None


async def _look_for_missing(tx: Transaction, kind: Kind, result: Matched) -> None:
    after = 0
    while result.first and (
        rows := await tx.fetch(_SQL["unmatched_transfers"], kind, result.first, result.last, after, _PAGE)
    ):
        for row in rows:
            ours = f"{row['amount']} {row['currency']}"
            result.add(Mismatch("missing_there", 0, row["reference"], "", ours))
        after = rows[-1]["id"]
