"""Matches somebody else's statement, such as a bank's, against our transfers: both sides to the last one."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BufferedIOBase
from itertools import islice
from typing import Literal

from paybell.storage import Database, Record, Transaction, load_queries
from paybell.verification.bank_file import BankFile, Kind, StatementLine
from paybell.wallet.statements import Period

_SQL = load_queries(__package__, "bank_matching.sql")
_PAGE = 5_000
# Mismatches that are kept of all that are counted.
MISMATCHES_MAX = 10_000
_DAY = timedelta(days=1)
# A merchant's own statement has all of these, so one that has none of the refunds lacks them.
_MERCHANTS = frozenset(("payment", "refund", "refund_failed"))
What = Literal["missing_here", "missing_there", "different_amount", "twice", "outside_period"]


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
    """What a statement came to: all mismatches counted, the first `MISMATCHES_MAX` kept.

    Attributes:
        merchant_id: whose payments and refunds were compared.
        kinds: which transfers were; with our own statement all of a merchant's.
        currencies: those of the file.
        period: whose transfers were compared, those of all; None when no line matched and none was given.
        lines: of the file, without blank ones.
        matched: lines that agree with a transfer of the period.
        transfers: of the period.
    """

    merchant_id: str
    kinds: list[str] = field(default_factory=list)
    currencies: list[str] = field(default_factory=list)
    period: Period | None = None
    lines: int = 0
    matched: int = 0
    transfers: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    mismatches: list[Mismatch] = field(default_factory=list)

    def add(self, one: Mismatch) -> None:
        """Count a mismatch, and keep it while there is room."""
        self.counts[one.what] += 1
        if len(self.mismatches) < MISMATCHES_MAX:
            self.mismatches.append(one)


async def match_statement(
    database: Database,
    file: BufferedIOBase,
    merchant_id: str,
    kind: Kind | None = None,
    period: Period | None = None,
) -> Matched:
    """Match every line of a file, and every transfer of its period, in one snapshot.

    Args:
        database: pay's.
        file: see `BankFile`, also for ``kind``.
        merchant_id: whose payments and refunds; top-ups are those of all wallets.
        kind: of all lines.
        period: whose transfers have to stand in the file; None: the whole days, in UTC, from the first
            transfer that a line speaks of to the last.

    Raises:
        InvalidRequest: the file cannot be read.
    """
    result, statement = Matched(merchant_id, period=period), BankFile(file, kind)
    async with database.snapshot() as tx:
        await _load(tx, statement.read(), result)
        await _find_transfers(tx, result, has_kinds=statement.has_kinds)
        await _match_lines(tx, result)
        await _look_for_missing(tx, result)
    return result


async def _load(tx: Transaction, reading: Iterator[StatementLine], result: Matched) -> None:
    await tx.execute(_SQL["begin_lines"])
    while lines := list(islice(reading, _PAGE)):
        result.lines += len(lines)
        await tx.execute(
            _SQL["add_lines"],
            [one.line for one in lines],
            [one.kind for one in lines],
            [one.reference for one in lines],
            [one.amount for one in lines],
            [one.currency for one in lines],
        )
    await tx.execute(_SQL["analyze_lines"])


async def _find_transfers(tx: Transaction, result: Matched, *, has_kinds: bool) -> None:
    """Find the transfer each line speaks of, and from them what has to be compared."""
    await tx.execute(_SQL["begin_accounts"])
    await tx.execute(_SQL["add_accounts"], result.merchant_id)
    await tx.execute(_SQL["match_ids"])
    await tx.execute(_SQL["match_business_orders"], result.merchant_id)
    await tx.execute(_SQL["match_top_ups"])
    await tx.execute(_SQL["choose_matches"])
    await tx.execute(_SQL["index_matches"])
    row = await tx.fetch_one(_SQL["days_matched"])
    assert row is not None
    kinds = set(row["kinds"])
    if has_kinds and kinds & _MERCHANTS:
        kinds |= _MERCHANTS
    result.kinds = sorted(kinds)
    result.currencies = sorted(row["currencies"])
    if result.period is None and row["first"] is not None:
        result.period = Period(_midnight(row["first"]), _midnight(row["last"]) + _DAY)


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


async def _match_lines(tx: Transaction, result: Matched) -> None:
    after = 0
    while rows := await tx.fetch(_SQL["match_lines"], after, _PAGE):
        for row in rows:
            if (what := _mismatch(row, result.period)) is None:
                result.matched += 1
                continue
            theirs = f"{row['amount']} {row['currency']}"
            ours = "" if row["our_amount"] is None else f"{row['our_amount']} {row['our_currency']}"
            result.add(Mismatch(what, row["line"], row["reference"], theirs, ours))
        after = rows[-1]["line"]


def _mismatch(row: Record, period: Period | None) -> What | None:
    if row["our_amount"] is None or period is None:
        return "missing_here"
    if row["again"]:
        return "twice"
    if (row["amount"], row["currency"]) != (row["our_amount"], row["our_currency"]):
        return "different_amount"
    return None if period.start <= row["created_at"] < period.end else "outside_period"


async def _look_for_missing(tx: Transaction, result: Matched) -> None:
    if result.period is None:
        return
    asked = result.currencies, result.kinds, result.period.start, result.period.end
    counted = await tx.fetch_one(_SQL["count_transfers"], *asked)
    assert counted is not None
    result.transfers = counted["transfers"]
    for row in await tx.fetch(_SQL["missing_transfers"], *asked, MISMATCHES_MAX):
        result.add(Mismatch("missing_there", 0, row["reference"], "", f"{row['amount']} {row['currency']}"))
    result.counts["missing_there"] = counted["missing"]
    result.counts = +result.counts
