"""What operators do to one payment: refund, close, publish its event again; each is written down with it."""

from collections.abc import Callable, Sequence

from paybell.idempotency.keys import KeptAnswer
from paybell.ids import Ids
from paybell.messaging.outbox import Outbox
from paybell.operations.errors import NothingToPublish
from paybell.parts import Release
from paybell.pay import store
from paybell.pay.closing import Closer, Closing
from paybell.pay.errors import PayOrderNotFound
from paybell.pay.model import PayOrder, Refund
from paybell.pay.refunds import RefundRequest, RefundService
from paybell.reconciliation.pay_books import PayBooks, newest_event
from paybell.reconciliation.trade_books import TradeBooks
from paybell.storage import Database


class PaymentActions:
    """Works on the pay database itself, as the api does."""

    def __init__(
        self,
        database: Database,
        *,
        outbox: Outbox,
        ids: Ids,
        books: PayBooks,
        trade: TradeBooks,
        merchant_id: str,
        releasing: Sequence[Release],
    ) -> None:
        """Act on every merchant's payments; ``merchant_id``'s orders are those at trade."""
        self._database = database
        self._books = books
        self._trade = trade
        self._merchant_id = merchant_id
        self._refunds = RefundService(database, outbox, ids)
        self._closer = Closer(database, outbox, releasing)

    async def refund(
        self, request: RefundRequest, show: Callable[[tuple[Refund, PayOrder]], KeptAnswer]
    ) -> tuple[KeptAnswer, bool]:
        """Refund once for each key; errors as of `RefundService.refund`."""
        return await self._refunds.refund(request, show)

    async def close(self, pay_order_id: int, operator: str, traceparent: str) -> PayOrder:
        """Close an unpaid order; errors as of `Closer.close`."""
        return await self._closer.close(Closing(pay_order_id, traceparent, operator=operator))

    async def republish(self, pay_order_id: int, operator: str) -> str:
        """Publish the newest event again, under its own id, which is returned: listeners apply it once.

        Where trade's inbox remembers a payment whose order is unpaid, it forgets it first; its listener would
        take the event for a double otherwise.

        Raises:
            PayOrderNotFound, NothingToPublish, Busy.
        """
        order = await store.find(self._database, pay_order_id)
        if order is None:
            raise PayOrderNotFound
        if newest_event(order) is None:
            raise NothingToPublish
        if order.succeeded_at is not None and order.merchant_id == self._merchant_id:
            await self._trade.forget_unapplied([order.biz_order_no], operator)
        await self._books.republish([order.id], operator, action="republish", by=f"pay order {order.id}")
        return order.event_id
