"""Reconciling by itself, again and again: what was lost at the broker comes back within a period."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import structlog

from paybell.clock import Clock
from paybell.reconciliation.comparison import BATCH, Comparison
from paybell.reconciliation.mending import Mender
from paybell.reconciliation.pay_books import PayBooks
from paybell.reconciliation.trade_books import TradeBooks

log = structlog.get_logger()
_NAME = "reconcile"
# Orders a log line names; `paybell reconcile` and the console show all.
_NAMED = 10


class PeriodicReconciler:
    """Compares the last while and tells again what was not heard; one process at a time does it."""

    def __init__(
        self,
        pay: PayBooks,
        trade: TradeBooks,
        clock: Clock,
        *,
        period_seconds: float,
        window_seconds: float,
        found: Callable[[int], object],
    ) -> None:
        """Work on both sides; ``found`` is told how many differences each comparison had."""
        self._pay = pay
        self._trade = trade
        self._clock = clock
        self._period_seconds = period_seconds
        self._window_seconds = window_seconds
        self._found = found

    async def run_once(self) -> int:
        """Reconcile if it is time and nobody else's turn; return 0, so that the loop stays slow.

        At most `BATCH` events are told again each time: after a long outage they may all be under way.
        """
        if not await self._pay.take_turn(_NAME, self._period_seconds):
            return 0
        comparison, found = Comparison(self._pay, self._trade, self._clock), 0
        since = self._clock.now() - timedelta(seconds=self._window_seconds)
        async for differences in comparison.differences(since):
            kinds = Counter(one.kind.value for one in differences)
            orders = [one.number for one in differences[:_NAMED]]
            log.warning("books_differ", purchases=len(differences), kinds=dict(kinds), orders=orders)
            if not found:
                await Mender(self._pay, self._trade, self._clock).tell(differences[:BATCH])
            found += len(differences)
        self._found(found)
        return 0
