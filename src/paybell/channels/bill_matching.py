"""A channel's bill beside what we entered of its money, both in one snapshot."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from paybell.channels.bills import Difference, Entry, Key, differences
from paybell.ids import ID_MAX
from paybell.storage import Database, Record, load_queries

_OURS = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_SQL = load_queries(__package__, "bill_matching.sql")


@dataclass(frozen=True, slots=True)
class Sum:
    """What a bill comes to in one currency beside the channel's clearing account, in minor units.

    Attributes:
        currency: of ISO 4217.
        bill: all its rows, refunds negative.
        account: what the clearing account moved in the period.
        of_other_days: of that, what stands in bills of other days or is on its way back, without what this
            bill has and the account moved on another day.
    """

    currency: str
    bill: int
    account: int
    of_other_days: int

    @property
    def difference(self) -> int:
        """By how much the bill comes to more."""
        return self.bill - (self.account - self.of_other_days)


@dataclass(frozen=True, slots=True)
class Matched:
    """What a bill came to: its rows, what we entered, what is not equal, and both sums."""

    rows: int
    entered: int
    differences: Sequence[Difference]
    sums: Sequence[Sum]

    @property
    def equal(self) -> bool:
        """Whether both sides say the same of each row, and of all together."""
        return not self.differences and not any(one.difference for one in self.sums)


async def match_bill(
    database: Database, channels: Sequence[str], bill: Mapping[Key, Entry], start: datetime, end: datetime
) -> Matched:
    """Match every row of a bill, everything of its period that we entered, and the ledger's word for both.

    What crosses the border of the period is looked for, and not missed: it may stand in the bill of the day
    before or after.

    Args:
        database: pay's.
        channels: whose money the bill is about.
        bill: its rows.
        start: of the period.
        end: not included.
    """
    numbers = {kind: _numbers(bill, kind) for kind in ("payment", "refund")}
    async with database.snapshot() as tx:
        under = await tx.fetch(_SQL["entered_under"], channels, numbers["payment"], numbers["refund"])
        within = await tx.fetch(_SQL["entered_within"], channels, start, end)
        ours = dict(map(_entry, [*under, *within]))
        rows = {kind: _numbers([*bill, *ours], kind) for kind in ("payment", "refund")}
        cleared = await tx.fetch(_SQL["cleared"], channels, rows["payment"], rows["refund"], start, end)
    return Matched(len(bill), len(ours), differences(ours, bill), _sums(bill, cleared))


def _sums(bill: Mapping[Key, Entry], cleared: Sequence[Record]) -> Sequence[Sum]:
    account = {row["currency"]: (row["account"], row["of_other_days"]) for row in cleared}
    billed = {entry.currency: 0 for entry in bill.values()}
    for key, entry in bill.items():
        billed[entry.currency] += entry.amount if key.kind == "payment" else -entry.amount
    return [
        Sum(currency, billed.get(currency, 0), *account.get(currency, (0, 0)))
        for currency in sorted(billed.keys() | account.keys())
    ]


async def begun_within(
    database: Database, channels: Sequence[str], start: datetime, end: datetime
) -> Sequence[tuple[Key, Entry]]:
    """Return all attempts and refunds that began in a time, whatever became of them."""
    async with database.snapshot() as tx:
        return list(map(_entry, await tx.fetch(_SQL["begun_within"], channels, start, end)))


def _numbers(bill: Iterable[Key], kind: str) -> Sequence[int]:
    """Return the numbers that may be ours; others are of another system at the same channel."""
    numbers = (int(key.number) for key in bill if key.kind == kind and _OURS.fullmatch(key.number))
    return [number for number in numbers if number <= ID_MAX]


def _entry(row: Record) -> tuple[Key, Entry]:
    return Key(row["kind"], str(row["id"])), Entry(row["amount"], row["currency"], row["transaction_id"])
