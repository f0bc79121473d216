"""What deliveries hold for a listener: events it may apply, and what is none."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

from paybell.errors import PaybellError
from paybell.messaging.arrivals import Arrival, Failure, dead, identity
from paybell.messaging.broker import MESSAGE_BODY_MAX, Delivery
from paybell.messaging.events import Unreadable, signature_of
from paybell.messaging.failure_rows import is_event_id
from paybell.messaging.listener import Event, Listener
from paybell.messaging.signatures import EventKeys

_ATTEMPT = re.compile(r"#([0-9a-f]{12})\.[de]\Z")


class NotSigned(PaybellError):
    """An event that nothing vouches for; it goes to the dead letters."""

    code = "not_signed"


@dataclass(frozen=True, slots=True)
class Incoming(Generic[Event]):
    """An arrival that could be read."""

    arrival: Arrival
    event: Event
    event_id: str

    @property
    def attempt(self) -> str | None:
        """Which publishing it comes from, if our relay did (`paybell.messaging.wire.Wire`)."""
        match = _ATTEMPT.search(self.arrival.delivery.message_id)
        return match and match[1]


class EventReader(Generic[Event]):
    """Reads for one listener; with ``keys`` only what one of them has signed."""

    def __init__(self, listener: Listener[Event], keys: EventKeys | None) -> None:
        self._listener = listener
        self._keys = keys

    def read(self, arrivals: Sequence[Arrival]) -> tuple[list[Incoming[Event]], list[Failure], list[Arrival]]:
        """Return the events, what is none or not ours, and what does not concern this listener."""
        incoming: list[Incoming[Event]] = []
        unreadable: list[Failure] = []
        ignored: list[Arrival] = []
        for arrival in arrivals:
            try:
                event = self._event(arrival.delivery)
            except (Unreadable, NotSigned) as error:
                # Not by the id it claims, or it would stand in the place of the true one.
                event_id = arrival.event_id or identity(arrival.delivery)
                unreadable.append(dead(arrival, event_id, error.code, str(error)))
            else:
                if event is None:
                    ignored.append(arrival)
                else:
                    incoming.append(Incoming(arrival, event, event.event_id))
        return incoming, unreadable, ignored

    def _event(self, delivery: Delivery) -> Event | None:
        """Read a delivery's event, completely; None: it does not concern this listener."""
        if delivery.cut:
            raise Unreadable(f"the body is longer than {MESSAGE_BODY_MAX} bytes")
        try:
            event = self._listener.event_type.from_delivery(delivery)
            if self._listener.concerns and not self._listener.concerns(event):
                return None
            storable = is_event_id(event.event_id)
        except Unreadable:
            raise
        except Exception as error:  # whatever it is, the same bytes would bring it again forever
            raise Unreadable(f"{type(error).__name__}: {error}") from error
        if not storable:
            raise Unreadable("the event id is not 1 to 255 characters of text")
        signature = signature_of(delivery)
        if self._keys and not self._keys.verifies_event(signature, delivery.body):
            raise NotSigned("no key of this listener has signed it" if signature else "it is not signed")
        return event

    def name(self, arrival: Arrival) -> str:
        """Return the id of an arrival's event; what cannot be read is named by what it is."""
        incoming, _, _ = self.read([arrival])
        return incoming[0].event_id if incoming else arrival.event_id or identity(arrival.delivery)
