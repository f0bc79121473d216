"""Giving back money that came for orders that were cancelled before: by itself, in full, once.

A row with a due time stands for each such debt, written in the transaction that learns of the payment.
The refund's number follows from the order, so asking twice is asking once. A debt stays until pay says that
the money is back: one on its way by a channel is asked after, one its channel refused waits for a person.
"""

import structlog

from paybell.errors import PaybellError
from paybell.ids import new_traceparent
from paybell.messaging.events import PayOrderData
from paybell.storage import Database
from paybell.trade import store
from paybell.trade.errors import RefundFailed, RefundPending
from paybell.trade.event_listener import apply_states
from paybell.trade.pay_client import PayClient

log = structlog.get_logger()
# Waits after a refund that pay refused or did not answer, in seconds: doubled each time up to the most.
FIRST_WAIT_SECONDS, MOST_WAIT_SECONDS = 5.0, 600.0
OWED_MAX = 50


class RefundSender:
    """Takes up debts that are due; any number may run."""

    def __init__(self, database: Database, pay: PayClient) -> None:
        self._database = database
        self._pay = pay

    async def run_once(self) -> int:
        """Settle one bounded batch of debts; return how many were due.

        Raises:
            PayServiceUnavailable: nobody knows; they are due again after their wait.
        """
        due = await store.take_owed_refunds(self._database, FIRST_WAIT_SECONDS, MOST_WAIT_SECONDS, OWED_MAX)
        states = await self._pay.states_of(due) if due else {}
        for order_id in due:
            if state := states.get(order_id):
                await self._settle(order_id, state)
        return len(due)

    async def _settle(self, order_id: int, state: PayOrderData) -> None:
        left = state.amount - state.refunded_amount
        if state.status == "TRADE_SUCCESS" and left:
            # What was given back before is part of the number: a refund by hand in between makes it another.
            number = f"cancelled-{order_id}-{state.refunded_amount}"
            try:
                state = await self._pay.refund(state, left, number, new_traceparent())
            except RefundPending:
                log.info("refund_on_its_way", order_id=order_id, pay_order_id=state.pay_order_id)
                return
            except RefundFailed as error:
                # Kept, and said again at each of its waits: once somebody has given the money back, pay's
                # state shows it and the debt ends by itself.
                log.error(  # noqa: TRY400 - no fault of ours
                    "owed_refund_failed",
                    order_id=order_id,
                    pay_order_id=state.pay_order_id,
                    amount=left,
                    currency=state.currency,
                    detail=str(error),
                )
                return
            except PaybellError as error:
                log.warning("refund_waits", order_id=order_id, code=error.code, detail=str(error))
                return
        async with self._database.transaction() as tx:
            await apply_states(tx, [state])
            await store.drop_owed_refunds(tx, [order_id])
