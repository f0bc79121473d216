"""How the order service hears that an order was paid."""

from collections.abc import Sequence

from paybell.errors import PayServiceUnavailable
from paybell.messaging.broker import Binding
from paybell.messaging.events import PaymentSucceeded, Signer
from paybell.messaging.listening import Listener, Rejected, Verdicts, listener
from paybell.storage import Transaction
from paybell.trade import store
from paybell.trade.model import OrderStatus
from paybell.trade.pay_client import PayClient


class PaymentProof:
    """Makes sure of a payment: by our signature, and without one by asking pay.

    A bare number proves nothing: whoever may publish to the exchange could mark any order paid.
    """

    def __init__(self, signer: Signer, pay: PayClient) -> None:
        """Take the key of the signatures and somebody to ask."""
        self._signer = signer
        self._pay = pay

    async def __call__(self, events: Sequence[PaymentSucceeded]) -> Verdicts:
        """Answer for the events that are not proven: rejected, or to be tried again later."""
        signed = {event.biz_order_no for event in events if self._signer.verifies(event)}
        asked = {event.biz_order_no: event for event in events if event.biz_order_no not in signed}
        if not asked:
            return {}
        try:
            paid = await self._pay.paid_among(asked)
        except PayServiceUnavailable as error:
            return {event.event_id: error for event in asked.values()}
        return {
            event.event_id: Rejected(event.event_id, "not_paid", "pay knows of no payment of this order")
            for number, event in asked.items()
            if number not in paid
        }


def payment_listener(binding: Binding, proof: PaymentProof) -> Listener[PaymentSucceeded]:
    """Return the listener that marks orders paid."""

    @listener(binding, screen=proof)
    async def mark_order_paid(events: Sequence[PaymentSucceeded], tx: Transaction) -> list[Rejected]:
        numbers = {event.biz_order_no: event for event in events}
        marked = await store.mark_paid(tx, list(numbers))
        others = numbers.keys() - marked
        orders = await store.find(tx, list(others)) if others else {}
        rejected = []
        for number in others:
            event_id = numbers[number].event_id
            if number not in orders:
                rejected.append(Rejected(event_id, "order_not_found", "there is no order of this number"))
            elif orders[number].status is OrderStatus.CANCELLED:
                rejected.append(Rejected(event_id, "order_cancelled", "the order was cancelled before"))
        return rejected

    return mark_order_paid
