"""Repairs the normal way: the event is published again under its own id, and trade's listener acts.

Publishing twice does no harm, because the listener applies an event once. Nothing here writes an order.
"""

from collections.abc import Sequence

from paybell.backoff import exponential
from paybell.clock import Clock
from paybell.reconciliation.comparison import Comparison
from paybell.reconciliation.differences import Difference, Kind
from paybell.reconciliation.pay_books import PayBooks
from paybell.reconciliation.trade_books import TradeBooks


class Republisher:
    """Publishes events again, and waits to see whether that helped."""

    def __init__(self, pay: PayBooks, trade: TradeBooks, clock: Clock) -> None:
        self._pay = pay
        self._trade = trade
        self._clock = clock

    async def republish(self, differences: Sequence[Difference], who: str | None = None) -> None:
        """Put the newest event of each into the outbox; which kinds that repairs, says `REPUBLISHABLE`.

        Where the inbox remembers an event whose effect is missing, it forgets it first; the listener would
        take the event for a double otherwise.

        Args:
            differences: with pay orders.
            who: the operator, for the record of each database that is written to; None: nobody, the schedule.
        """
        unapplied = [one.number for one in differences if one.kind is Kind.PAYMENT_NOT_HEARD]
        if unapplied:
            await self._trade.forget_unapplied(unapplied, who)
        ids = [one.pay.pay_order_id for one in differences if one.pay is not None]
        if ids:
            await self._pay.republish([pay_order_id for pay_order_id in ids if pay_order_id is not None], who)

    async def until_repaired(
        self, republished: Sequence[Difference], comparison: Comparison, stall_seconds: float
    ) -> int:
        """Wait as long as differences go away; return how many have gone.

        Args:
            republished: whose events were published again.
            comparison: reads them again.
            stall_seconds: how long nothing may change before waiting ends.
        """
        left = await comparison.still(republished)
        deadline = self._clock.monotonic() + stall_seconds
        waits = exponential(first=0.05, limit=0.5)
        while left and self._clock.monotonic() < deadline:
            await self._clock.sleep(next(waits))
            now = await comparison.still(left)
            if len(now) < len(left):
                deadline = self._clock.monotonic() + stall_seconds
            left = now
        return len(republished) - len(left)
