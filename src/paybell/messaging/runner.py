"""The old name of `paybell.messaging.listener_runner`, and of what was in it besides."""

from paybell.messaging.event_processor import EventProcessor as _EventProcessor
from paybell.messaging.event_reader import EventReader as _EventReader
from paybell.messaging.listener_runner import ListenerRunner as _ListenerRunner
from paybell.messaging.moved import forwarding as _forwarding
from paybell.telemetry.observers import ListenerObserver as _ListenerObserver

__getattr__ = _forwarding(__name__, _ListenerObserver, _ListenerRunner, _EventProcessor, _EventReader)
