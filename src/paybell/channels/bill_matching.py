"""A channel's bill beside what we entered of its money, both in one snapshot."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from paybell.channels.bills import Difference, Entry, Key, differences
from paybell.storage import Database, Record, load_queries

# Ids of 63 bits.
_OURS = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_SQL = load_queries(__package__, "bill_matching.sql")


@dataclass(frozen=True, slots=True)
class Matched:
    """What a bill came to: its rows, what we entered, and what is not equal."""

    rows: int
    entered: int
    differences: Sequence[Difference]


async def match_bill(
    database: Database, channels: Sequence[str], bill: Mapping[Key, Entry], start: datetime, end: datetime
) -> Matched:
    """Match every row of a bill, and everything of its period that we entered.

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
    return Matched(len(bill), len(ours), differences(ours, bill))


def _numbers(bill: Mapping[Key, Entry], kind: str) -> Sequence[int]:
    """Return the numbers that may be ours; others are of another system at the same channel."""
    return [int(key.number) for key in bill if key.kind == kind and _OURS.fullmatch(key.number)]


def _entry(row: Record) -> tuple[Key, Entry]:
    return Key(row["kind"], str(row["id"])), Entry(row["amount"], row["currency"], row["transaction_id"])
