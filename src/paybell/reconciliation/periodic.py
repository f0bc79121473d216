"""Reconciling by itself, again and again: what was lost at the broker comes back within a period."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import structlog

from paybell.clock import Clock
from paybell.reconciliation.differences import Difference
from paybell.reconciliation.pay_books import PayBooks
from paybell.reconciliation.reconciler import Reconciler, Repair

log = structlog.get_logger()
RECONCILE = "reconcile"
# Orders a log line names; `paybell reconcile` and the console show all.
_NAMED = 10
# Events that one run republishes: after a long outage all may be under way.
REPUBLISHED_MAX = 1_000
# Differences that are kept for operators to list.
LISTED_MAX = 10_000


class PeriodicReconciler:
    """Compares the last while and republishes what was not delivered; one process at a time does it."""

    def __init__(
        self,
        reconciler: Reconciler,
        pay: PayBooks,
        clock: Clock,
        *,
        period_seconds: float,
        window_seconds: float,
        republished_max: int = REPUBLISHED_MAX,
    ) -> None:
        self._reconciler = reconciler
        self._pay = pay
        self._clock = clock
        self._period_seconds = period_seconds
        self._window_seconds = window_seconds
        self._turns = _Turns(republished_max)

    async def run_once(self) -> int:
        """Reconcile if it is time and nobody else's turn; return 0, so that the loop stays slow.

        Each difference that republishing can repair is republished, at most so many in a run; what there was
        no room for comes first in the next.
        """
        if not await self._pay.take_turn(RECONCILE, self._period_seconds):
            return 0
        since = self._clock.now() - timedelta(seconds=self._window_seconds)
        found, listed = 0, list[Difference]()
        self._turns.begin()
        repair = Repair(choose=self._turns.choose, stall_seconds=0)
        async for progress in self._reconciler.run(since, repair):
            if progress.batch:
                _log(progress.batch)
                listed += progress.batch[: LISTED_MAX - len(listed)]
            found = progress.differences
        await self._pay.note_found(RECONCILE, found, listed)
        return 0


class _Turns:
    """Who is republished when a run cannot hold all: nobody again before all others had their turn."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = 0
        self._had: set[int] = set()

    def begin(self) -> None:
        if self._left:
            self._had.clear()
        self._left = self._limit

    def choose(self, differences: Sequence[Difference]) -> Sequence[Difference]:
        chosen = [one for one in differences if one.number not in self._had][: self._left]
        self._left -= len(chosen)
        self._had.update(one.number for one in chosen)
        return chosen


def _log(differences: Sequence[Difference]) -> None:
    kinds = Counter(one.kind.value for one in differences)
    orders = [one.number for one in differences[:_NAMED]]
    log.warning("books_differ", purchases=len(differences), kinds=dict(kinds), orders=orders)
