"""Differences that an operator lets stand: neither counted nor repaired while nothing changes.

They are rows of the pay database, each written together with its row of ``operator_actions``.
"""

from collections.abc import Collection, Sequence

from paybell.reconciliation.differences import Difference
from paybell.storage import Database, load_queries
from paybell.storage.operator_actions import note_action

_SQL = load_queries(__package__, "acknowledgements.sql")
NOTE_MAX = 256


class Acknowledgements:
    """Those of one merchant's purchases."""

    def __init__(self, database: Database, merchant_id: str) -> None:
        self._database = database
        self._merchant_id = merchant_id

    async def without(self, differences: Sequence[Difference]) -> list[Difference]:
        """Return the differences that nobody has acknowledged as they are now."""
        if not differences:
            return []
        rows = await self._database.fetch(
            _SQL["find_acknowledged"], self._merchant_id, [one.number for one in differences]
        )
        known = {tuple(row.values()) for row in rows}
        return [one for one in differences if _key(one) not in known]

    async def add(self, differences: Sequence[Difference], who: str, note: str) -> None:
        """Acknowledge differences as they are now.

        Args:
            differences: each with a number of its own.
            who: the operator.
            note: why they may stand, 1 to `NOTE_MAX` characters.
        """
        if not differences:
            return
        columns = [list(column) for column in zip(*map(_key, differences), strict=True)]
        async with self._database.transaction() as tx:
            await tx.execute(_SQL["acknowledge"], self._merchant_id, *columns, who, note, tx.now)
            await note_action(tx, who, "acknowledge", note, columns[0])

    async def withdraw(self, numbers: Collection[int], who: str) -> list[int]:
        """Let differences count again; return the numbers that were acknowledged."""
        async with self._database.transaction() as tx:
            rows = await tx.fetch(_SQL["withdraw"], self._merchant_id, list(numbers))
            withdrawn = sorted(row["biz_order_no"] for row in rows)
            if withdrawn:
                await note_action(tx, who, "withdraw acknowledgement", "reconcile", withdrawn)
            return withdrawn


def _key(one: Difference) -> tuple[int, str, str, str]:
    return one.number, one.kind.value, one.pay.words if one.pay else "", one.trade.words if one.trade else ""
