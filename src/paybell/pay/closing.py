"""Closing an unpaid pay order: by its merchant, or by an operator, who is written down."""

from collections.abc import Sequence
from dataclasses import dataclass

from paybell.errors import AttemptNotFinal
from paybell.messaging.events import PAY_CLOSED
from paybell.messaging.outbox import Outbox
from paybell.parts import Release
from paybell.pay import store
from paybell.pay.errors import PayOrderNotFound
from paybell.pay.model import PayOrder
from paybell.storage import Database
from paybell.storage.operator_actions import note_action


@dataclass(frozen=True, slots=True)
class Closing:
    """A wish to close a pay order of ``merchant_id``, or (None) of whoever; ``operator`` is written down."""

    pay_order_id: int
    traceparent: str
    merchant_id: str | None = None
    operator: str | None = None


class Closer:
    """Closes pay orders one by one: status and event in one transaction."""

    def __init__(self, database: Database, outbox: Outbox, releasing: Sequence[Release] = ()) -> None:
        """Work on the pay database; ``releasing`` are asked to let go of an order that is held."""
        self._database = database
        self._outbox = outbox
        self._releasing = releasing

    async def close(self, wanted: Closing) -> PayOrder:
        """Close an unpaid order; again, and the answer is the same.

        Raises:
            PayOrderNotFound, AlreadyPaid, Busy.
            AttemptNotFinal: money from elsewhere may still come, though it was asked to be stopped.
        """
        try:
            return await self._database.until_free(lambda: self._close(wanted))
        except AttemptNotFinal:
            if not self._releasing:
                raise
        for release in self._releasing:
            await release(wanted.pay_order_id)
        return await self._database.until_free(lambda: self._close(wanted))

    async def _close(self, wanted: Closing) -> PayOrder:
        async with self._database.transaction() as tx:
            order = (await store.lock(tx, [wanted.pay_order_id])).get(wanted.pay_order_id)
            if order is None or wanted.merchant_id not in (None, order.merchant_id):
                raise PayOrderNotFound
            if order.closed_at is not None:
                return order
            if order.succeeded_at is not None:
                refusal = order.refusal(tx.now)
                assert refusal is not None
                raise refusal
            closed = order.close(tx.now)
            await store.mark_closed(tx, [closed])
            await self._outbox.append(tx, [closed.event(PAY_CLOSED, tx.now, wanted.traceparent)])
            if wanted.operator is not None:
                await note_action(tx, wanted.operator, "close", f"pay order {order.id}", [order.id])
        return closed
