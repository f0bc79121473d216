"""Paybell pays an order out of a balance and makes sure that everybody who needs to know is notified.

``from paybell import …`` hands out what a listener's author needs (`paybell.messaging.kit`). It is loaded
when it is first asked for (PEP 562), so that no command loads a driver for it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paybell.messaging.kit import (
        Binding,
        Database,
        Delivery,
        EventKeys,
        Exchange,
        ListenerRunner,
        LocalBroker,
        Observer,
        PaymentSucceeded,
        PayOrderData,
        PayOrderEvent,
        Query,
        Queue,
        RabbitBroker,
        Rejected,
        SystemClock,
        Transaction,
        Unreadable,
        listen,
        listener,
    )

__version__ = "0.1.0"
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
    "__version__",
    "listen",
    "listener",
]

if not TYPE_CHECKING:  # or a type checker would believe in every name

    def __getattr__(name: str) -> object:
        """Return a name of the kit."""
        if name in __all__:
            from paybell.messaging import kit  # noqa: PLC0415 - see above

            return getattr(kit, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
