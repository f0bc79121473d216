"""Mends differences the normal way: the event is told again under its own id, and trade's listener acts.

Telling twice does no harm, because the listener applies an event once. Nothing here writes an order.
"""

from collections.abc import Sequence

from paybell.backoff import exponential
from paybell.clock import Clock
from paybell.reconciliation.comparison import Comparison
from paybell.reconciliation.differences import MENDED_BY_TELLING, Difference, Kind
from paybell.reconciliation.pay_books import PayBooks
from paybell.reconciliation.trade_books import TradeBooks


class Mender:
    """Tells events again, and looks whether that helped."""

    def __init__(self, pay: PayBooks, trade: TradeBooks, clock: Clock) -> None:
        """Work on both sides."""
        self._pay = pay
        self._trade = trade
        self._clock = clock

    async def tell(self, differences: Sequence[Difference]) -> list[Difference]:
        """Put the events of what can be mended this way into the outbox; return for which.

        Where the inbox remembers an event whose effect is missing, it forgets it first; the listener would
        take the event for a double otherwise.
        """
        mendable = [one for one in differences if one.kind in MENDED_BY_TELLING]
        unheard = [one.number for one in mendable if one.kind is Kind.PAYMENT_NOT_HEARD]
        if unheard:
            await self._trade.forget_unapplied(unheard)
        ids = [one.pay.pay_order_id for one in mendable if one.pay is not None]
        if mendable:
            await self._pay.tell_again([pay_order_id for pay_order_id in ids if pay_order_id is not None])
        return mendable

    async def until_mended(
        self, told: Sequence[Difference], comparison: Comparison, patience_seconds: float
    ) -> int:
        """Wait as long as differences go away; return how many have gone.

        Args:
            told: what was told again.
            comparison: looks at them.
            patience_seconds: how long nothing may change before waiting ends.
        """
        left = await comparison.still(told)
        deadline = self._clock.monotonic() + patience_seconds
        waits = exponential(first=0.05, most=0.5)
        while left and self._clock.monotonic() < deadline:
            await self._clock.sleep(next(waits))
            now = await comparison.still(left)
            if len(now) < len(left):
                deadline = self._clock.monotonic() + patience_seconds
            left = now
        return len(told) - len(left)
