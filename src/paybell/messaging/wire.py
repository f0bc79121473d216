"""How an event looks on the wire: the typed message, and the bare order number beside it."""

import msgspec

from paybell.clock import rfc3339
from paybell.messaging.broker import Message
from paybell.messaging.events import (
    CLOUDEVENTS_JSON,
    EVENT_SOURCE,
    MERCHANT_HEADER,
    PAY_DIRECT,
    PAY_EVENTS,
    PAY_SUCCESS,
    SIGNATURE_HEADER,
    OutboxEvent,
)
from paybell.messaging.signatures import EventKeys, PaidOrder


class _Paid(msgspec.Struct):
    data: PaidOrder


_read_paid = msgspec.json.Decoder(_Paid).decode


class Wire:
    """Turns one event into its messages: the typed one, and the bare order number beside it."""

    def __init__(self, keys: EventKeys, content_type: str) -> None:
        self._keys = keys
        self._content_type = content_type

    def messages(self, event: OutboxEvent, attempt: str) -> list[Message]:
        """Return the messages of an event; ``attempt`` makes their ids unique."""
        typed = Message(
            exchange=PAY_EVENTS.name,
            routing_key=event.type,
            body=event.body,
            message_id=f"{event.event_id}#{attempt}.e",
            content_type=CLOUDEVENTS_JSON,
            type=event.type,
            timestamp=event.occurred_at,
            headers={
                "traceparent": event.traceparent,
                SIGNATURE_HEADER: self._keys.sign_event(event.body),
            },
            must_route=False,
        )
        if event.type != PAY_SUCCESS:
            return [typed]
        paid = _read_paid(event.body).data
        bare = Message(
            exchange=PAY_DIRECT.name,
            routing_key=PAY_SUCCESS,
            body=event.subject.encode(),
            message_id=f"{event.event_id}#{attempt}.d",
            content_type=self._content_type,
            type=event.type,
            timestamp=event.occurred_at,
            headers={
                "__TypeId__": "java.lang.Long",
                "cloudEvents:id": event.event_id,
                "cloudEvents:source": EVENT_SOURCE,
                "cloudEvents:type": event.type,
                "cloudEvents:time": rfc3339(event.occurred_at),
                "cloudEvents:specversion": "1.0",
                "traceparent": event.traceparent,
                MERCHANT_HEADER: paid.merchant_id,
                SIGNATURE_HEADER: self._keys.sign(paid),
            },
        )
        return [bare, typed]
