"""A message of ours as frames of AMQP 0-9-1 (sections 4.2.3 to 4.2.6), in one go."""

import struct
from functools import lru_cache

from paybell.messaging.broker import Message
from paybell.messaging.rabbitmq.frames import BASIC, BODY, CONTENT, CONTENT_SIZE, END, FRAME, HEADER, METHOD

_PUBLISH = struct.pack(">HH", BASIC, 40)
_MARK = END.to_bytes(1)
# What we send: content type, encoding, headers, delivery mode, message id, timestamp, type, in this order.
_SENT_FLAGS = (0b1111_0000_1110_0000).to_bytes(2)
_PERSISTENT = (2).to_bytes(1)


def write_message(channel: int, message: Message, frame_max: int) -> bytes:
    """Return a message as Basic.Publish, content header and body, in frames of ``frame_max`` bytes at most.

    Raises:
        OverflowError: a name or a property has no room; see `encode_properties`.
    """
    properties, body = encode_properties(message), message.body
    limit = frame_max - FRAME.size - 1
    parts = [
        _publish(channel, message.exchange, message.routing_key, message.must_route),
        CONTENT.pack(HEADER, channel, CONTENT_SIZE + len(properties), BASIC, 0, len(body)),
        properties,
        _MARK,
    ]
    for start in range(0, len(body), limit):
        piece = body[start : start + limit]
        parts += (FRAME.pack(BODY, channel, len(piece)), piece, _MARK)
    return b"".join(parts)


@lru_cache(maxsize=256)
def _publish(channel: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:
    names = [name.encode() for name in (exchange, routing_key)]
    strings = b"".join(len(name).to_bytes(1) + name for name in names)
    method = _PUBLISH + bytes(2) + strings + mandatory.to_bytes(1)
    return FRAME.pack(METHOD, channel, len(method)) + method + _MARK


def encode_properties(message: Message) -> bytes:
    """Return the flags and the properties of a content header (4.2.6); what messages share is encoded once.

    Raises:
        OverflowError: a text other than a header's value is longer than 255 bytes.
    """
    fields: list[bytes] = []
    for name, text in message.headers.items():
        value = text.encode()
        fields += (_string_field(name), len(value).to_bytes(4), value)
    headers = b"".join(fields)
    message_id = message.message_id.encode()
    return b"".join(
        (
            _SENT_FLAGS,
            _written(message.content_type),
            _written("UTF-8"),
            len(headers).to_bytes(4),
            headers,
            _PERSISTENT,
            len(message_id).to_bytes(1),
            message_id,
            int(message.timestamp.timestamp()).to_bytes(8),
            _written(message.type),
        )
    )


@lru_cache(maxsize=256)
def _written(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(1) + data


@lru_cache(maxsize=256)
def _string_field(name: str) -> bytes:
    return _written(name) + b"S"
