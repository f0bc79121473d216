"""What a listener's author needs, in one place; ``from paybell import …`` hands it out."""

from paybell.clock import SystemClock
from paybell.messaging.broker import Binding, Delivery, Exchange, Queue
from paybell.messaging.events import PaymentSucceeded, PayOrderData, PayOrderEvent, Unreadable
from paybell.messaging.listener import Rejected, listener
from paybell.messaging.listener_runner import ListenerRunner
from paybell.messaging.listener_service import listen
from paybell.messaging.local import LocalBroker
from paybell.messaging.rabbitmq.broker import RabbitBroker
from paybell.messaging.signatures import EventKeys
from paybell.storage import Database, Query, Transaction
from paybell.telemetry.observers import Observer

__all__ = [
    "Binding",
    "Database",
    "Delivery",
    "EventKeys",
    "Exchange",
    "ListenerRunner",
    "LocalBroker",
    "Observer",
    "PayOrderData",
    "PayOrderEvent",
    "PaymentSucceeded",
    "Query",
    "Queue",
    "RabbitBroker",
    "Rejected",
    "SystemClock",
    "Transaction",
    "Unreadable",
    "listen",
    "listener",
]
