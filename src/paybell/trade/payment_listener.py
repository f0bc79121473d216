"""How the order service learns that an order was paid."""

from collections.abc import Mapping, Sequence
from functools import partial

from paybell.messaging.broker import Binding
from paybell.messaging.events import PaymentSucceeded
from paybell.messaging.listener import Listener, New, Rejected, Verdicts, listener
from paybell.messaging.signatures import EventKeys, PaidOrder
from paybell.storage import Database, Transaction
from paybell.trade import store
from paybell.trade.errors import PayServiceUnavailable
from paybell.trade.model import OrderStatus
from paybell.trade.pay_client import PayClient
from paybell.trade.watch import Changed, nobody


class PaymentProof:
    """Makes sure of a payment: by our signature, and without one by asking pay.

    A bare number proves nothing: whoever may publish to the exchange could mark any order paid. What
    counts is a payment to our merchant, of what our own order comes to.
    """

    def __init__(self, database: Database, merchant_id: str, keys: EventKeys, pay: PayClient) -> None:
        self._database = database
        self._merchant_id = merchant_id
        self._keys = keys
        self._pay = pay

    def is_ours(self, event: PaymentSucceeded) -> bool:
        """Say whether it may be about our merchant; one that does not say whose it is may be."""
        return event.merchant_id in ("", self._merchant_id)

    async def __call__(self, events: Sequence[PaymentSucceeded]) -> Verdicts:
        """Answer for the events that are not proven: rejected, or to be tried again later."""
        fees = await store.find_fees(self._database, list({event.biz_order_no for event in events}))
        signed = {event.biz_order_no for event in events if self._is_signed(event, fees)}
        asked = {event.biz_order_no: event.event_id for event in events if event.biz_order_no not in signed}
        if not asked:
            return {}
        try:
            paid = await self._pay.paid_among(asked)
        except PayServiceUnavailable as error:
            return dict.fromkeys(asked.values(), error)
        return {
            event_id: rejected
            for number, event_id in asked.items()
            if (rejected := _judge(event_id, fees.get(number), paid.get(number)))
        }

    def _is_signed(self, event: PaymentSucceeded, fees: Mapping[int, tuple[int, str]]) -> bool:
        fee = fees.get(event.biz_order_no)
        return fee is not None and self._keys.verifies(
            event.signature, PaidOrder(self._merchant_id, str(event.biz_order_no), *fee)
        )


def _judge(event_id: str, fee: tuple[int, str] | None, paid: tuple[int, str] | None) -> Rejected | None:
    """Compare an order with what pay says of it; an order we do not have is the listener's to reject."""
    if paid is None:
        return Rejected(event_id, "not_paid", "pay knows of no payment of this order")
    if fee is not None and paid != fee:
        error = "{} {} paid, {} {} ordered".format(*paid, *fee)
        return Rejected(event_id, "amount_mismatch", error)
    return None


def payment_listener(
    binding: Binding, proof: PaymentProof, changed: Changed = nobody
) -> Listener[PaymentSucceeded]:
    """Return the listener that marks orders paid and, after the commit, says which have ``changed``."""

    async def mark_all_paid(events: Sequence[New[PaymentSucceeded]], database: Database) -> bool:
        named = [(one.event.biz_order_no, one.event.event_id, one.attempt) for one in events]
        marked = await store.mark_all_paid(database, binding.queue.name, named)
        if marked:
            changed(marked)
        return len(marked) == len(events)

    @listener(binding, screen=proof, concerns=proof.is_ours, at_once=mark_all_paid)
    async def mark_order_paid(events: Sequence[PaymentSucceeded], tx: Transaction) -> list[Rejected]:
        numbers = {event.biz_order_no: event for event in events}
        marked = await store.mark_paid(tx, list(numbers))
        tx.after_commit(partial(changed, marked))
        others = numbers.keys() - marked
        orders = await store.find(tx, list(others)) if others else {}
        cancelled = [number for number in orders if orders[number].status is OrderStatus.CANCELLED]
        if cancelled:
            await store.note_paid_though_cancelled(tx, cancelled)
        return [
            Rejected(numbers[number].event_id, "order_not_found", "there is no order of this number")
            for number in others - orders.keys()
        ]

    return mark_order_paid
