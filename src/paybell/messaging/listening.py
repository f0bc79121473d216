"""The old name of `paybell.messaging.listener`."""

from paybell.messaging.listener import listener as _listener
from paybell.messaging.moved import forwarding as _forwarding

__getattr__ = _forwarding(__name__, _listener)
