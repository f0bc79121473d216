"""What people did by hand: a row of ``operator_actions`` in the database of the deed, in its transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from paybell.storage.database import Database
from paybell.storage.queries import load_queries
from paybell.storage.transaction import Transaction

_SQL = load_queries(__package__, "operator_actions.sql")


@dataclass(frozen=True, slots=True)
class OperatorAction:
    """What somebody did, to so many rows."""

    id: int
    at: datetime
    who: str
    action: str
    selection: str
    rows: int


async def note_action(tx: Transaction, who: str, action: str, selection: str, rows: Sequence[int]) -> int:
    """Write down, for good, who did what; return the id of the row that says so.

    Args:
        tx: the transaction of the deed.
        who: the operator's user id.
        action: one word or two of the table's own, such as ``replay``.
        selection: what was chosen, for people.
        rows: the ids of the rows that were acted on.
    """
    row = await tx.fetch_one(_SQL["note_action"], tx.now, who, action, selection, rows)
    assert row is not None
    return int(row["id"])


async def list_actions(
    database: Database, before: int, limit: int, *, on: Sequence[int] = (), kinds: Sequence[str] = ()
) -> list[OperatorAction]:
    """Return what was done last, newest first, with ids below ``before``.

    Args:
        database: where it was done.
        before: above all that are returned.
        limit: most of them.
        on: what was done to these rows only.
        kinds: these actions only, where no rows are named.
    """
    if on:
        rows = await database.fetch(_SQL["list_actions_on_rows"], before, limit, on)
    elif kinds:
        rows = await database.fetch(_SQL["list_actions_of_kinds"], before, limit, kinds)
    else:
        rows = await database.fetch(_SQL["list_actions"], before, limit)
    return [OperatorAction(**row) for row in rows]
