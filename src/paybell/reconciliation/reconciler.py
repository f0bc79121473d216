"""Comparing both sides while somebody looks on, and mending what differs."""

from collections import Counter
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any

import msgspec

from paybell.clock import Clock
from paybell.reconciliation.comparison import Comparison
from paybell.reconciliation.differences import Difference
from paybell.reconciliation.entries import Entry
from paybell.reconciliation.mending import Mender
from paybell.reconciliation.pay_books import PayBooks
from paybell.reconciliation.trade_books import TradeBooks
from paybell.storage import Database
from paybell.storage.operator_actions import note_action

# How long nothing may change before waiting for the order service ends, in seconds.
PATIENCE_SECONDS = 15.0
# Rows that are shown; all are counted and mended.
SHOWN_MAX = 200


class DifferenceView(msgspec.Struct, frozen=True):
    """A purchase of which the two sides do not say the same."""

    order: str
    kind: str
    pay: str
    trade: str


class Reconciler:
    """Compares and mends for an operator; the schedule does the same by itself."""

    def __init__(self, pay: PayBooks, trade: TradeBooks, trade_database: Database, clock: Clock) -> None:
        """Work on both sides; who mended what is written down in the trade database."""
        self._pay = pay
        self._trade = trade
        self._database = trade_database
        self._clock = clock

    async def run(
        self, since: datetime | None, *, repair: bool, who: str
    ) -> AsyncGenerator[tuple[str, object], None]:
        """Yield ``progress`` for each batch that differs and ``done`` at the end.

        Args:
            since: leave out pay orders made before.
            repair: tell again what was not heard, and wait for it.
            who: the operator.
        """
        comparison = Comparison(self._pay, self._trade, self._clock)
        mender = Mender(self._pay, self._trade, self._clock)
        found, told, shown = Counter[str](), list[Difference](), list[DifferenceView]()
        async for differences in comparison.differences(since):
            found.update(one.kind.value for one in differences)
            shown += [_view(one) for one in differences[: SHOWN_MAX - len(shown)]]
            if repair:
                mended = await mender.tell(differences)
                await self._note(who, mended)
                told += mended
            yield "progress", _summary(comparison, found, shown, len(told), 0)
        repaired = await mender.until_mended(told, comparison, PATIENCE_SECONDS) if told else 0
        yield "done", _summary(comparison, found, shown, len(told), repaired)

    async def _note(self, who: str, mended: list[Difference]) -> None:
        if mended:
            async with self._database.transaction() as tx:
                await note_action(tx, who, "repair", "reconcile", [one.number for one in mended])


def _summary(
    comparison: Comparison, found: Counter[str], shown: list[DifferenceView], told: int, repaired: int
) -> dict[str, Any]:
    return {
        "payOrders": comparison.compared.pay_orders,
        "waiting": comparison.compared.waiting,
        "differences": found.total(),
        "kinds": found,
        "told": told,
        "repaired": repaired,
        "rows": shown,
    }


def _view(difference: Difference) -> DifferenceView:
    return DifferenceView(
        str(difference.number), difference.kind.value, _side(difference.pay), _side(difference.trade)
    )


def _side(entry: Entry | None) -> str:
    if entry is None:
        return ""
    return f"{entry.status} {entry.amount - entry.refunded} {entry.currency} {entry.user_id}"
