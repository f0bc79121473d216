"""Events out through the outbox and the relay, events in through listeners and the inbox."""

from paybell.messaging.broker import Binding, Exchange, Queue
from paybell.messaging.events import PaymentSucceeded, PayOrderEvent
from paybell.messaging.listener import Rejected, listener

__all__ = ["Binding", "Exchange", "PayOrderEvent", "PaymentSucceeded", "Queue", "Rejected", "listener"]
