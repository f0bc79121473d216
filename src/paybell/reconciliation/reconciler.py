"""Both sides compared batch by batch, and what was not delivered published again.

The command, the operators' route and the schedule are three views of this one generator.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from paybell.clock import Clock
from paybell.reconciliation.acknowledgements import Acknowledgements
from paybell.reconciliation.comparison import Compared, Comparison
from paybell.reconciliation.differences import REPUBLISHABLE, Difference
from paybell.reconciliation.pay_books import PayBooks
from paybell.reconciliation.republisher import Republisher
from paybell.reconciliation.trade_books import TradeBooks

# How long nothing may change before waiting for the order service ends, in seconds.
STALL_SECONDS = 15.0

# Of the differences that republishing can repair, those that are republished now.
Choice = Callable[[Sequence[Difference]], Sequence[Difference]]


@dataclass(frozen=True, slots=True)
class Repair:
    """How differences are repaired.

    Attributes:
        who: the operator, for the record; None: the schedule.
        choose: which are republished; all of them otherwise.
        stall_seconds: how long nothing may change before waiting for a batch ends; 0: nobody waits.
    """

    who: str | None = None
    choose: Choice = list
    stall_seconds: float = STALL_SECONDS


@dataclass(slots=True)
class Progress:
    """How far a reconciliation has come.

    Attributes:
        compared: what was read.
        kinds: how many differences there are of each kind.
        acknowledged: differences that operators let stand; they are in no other figure.
        republished: whose events were published again.
        repaired: that are gone since.
        batch: found since the step before.
    """

    compared: Compared
    kinds: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    republished: int = 0
    repaired: int = 0
    batch: Sequence[Difference] = ()

    @property
    def differences(self) -> int:
        """How many were found."""
        return self.kinds.total()


class Reconciler:
    """Compares both sides of one merchant, and republishes."""

    def __init__(
        self, pay: PayBooks, trade: TradeBooks, acknowledgements: Acknowledgements, clock: Clock
    ) -> None:
        self.acknowledgements = acknowledgements
        self._pay = pay
        self._trade = trade
        self._clock = clock
        self._republisher = Republisher(pay, trade, clock)

    async def run(
        self, since: datetime | None, repair: Repair | None = None, *, after: int = 0
    ) -> AsyncGenerator[Progress, None]:
        """Yield the progress, one object that grows, after each batch that was read, republished or repaired.

        When nothing of a batch was repaired in time, the order service is not listening: those after it are
        republished and not waited for.

        Args:
            since: leave out what has not changed since.
            repair: how to repair; None: only compare.
            after: go on after this position of an earlier run.

        Raises:
            DatabaseUnavailable: one of the two does not answer.
        """
        comparison = Comparison(self._pay, self._trade, self._clock)
        progress = Progress(comparison.compared)
        stall_seconds = repair.stall_seconds if repair else 0.0
        async for found in comparison.differences(since, after):
            batch = await self.acknowledgements.without(found)
            progress.acknowledged += len(found) - len(batch)
            progress.batch = batch
            progress.kinds.update(one.kind.value for one in batch)
            repairable = [one for one in batch if one.kind in REPUBLISHABLE]
            chosen = repair.choose(repairable) if repair else ()
            if repair and chosen:
                await self._republisher.republish(chosen, repair.who)
                progress.republished += len(chosen)
            yield progress
            progress.batch = ()
            if repair and chosen and repair.stall_seconds:
                repaired = await self._republisher.until_repaired(chosen, comparison, stall_seconds)
                stall_seconds = repair.stall_seconds if repaired else 0.0
                progress.repaired += repaired
                yield progress
        yield progress

    async def acknowledge(self, numbers: Collection[int], who: str, note: str) -> list[Difference]:
        """Let what differs of these purchases stand as it is now; return it.

        Args:
            numbers: business order numbers; those that do not differ are left out.
            who: the operator.
            note: why they may stand.
        """
        found = await Comparison(self._pay, self._trade, self._clock).confirmed(numbers)
        await self.acknowledgements.add(found, who, note)
        return found
