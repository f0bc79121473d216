"""Events out through the outbox and the relay, events in through listeners and the inbox."""

from paybell.messaging.broker import Binding, Delivery, Exchange, Queue
from paybell.messaging.events import PaymentSucceeded, PayOrderEvent, Unreadable
from paybell.messaging.listener import Rejected, listener

__all__ = [
    "Binding",
    "Delivery",
    "Exchange",
    "PayOrderEvent",
    "PaymentSucceeded",
    "Queue",
    "Rejected",
    "Unreadable",
    "listener",
]
