"""The properties of a message as AMQP 0-9-1 writes them (sections 4.2.3 to 4.2.5), for our messages alone.

What messages of one kind have in common is encoded once; the client would do all of it for each.
"""

from functools import lru_cache

from paybell.messaging.broker import Message

# Content type, content encoding, headers, delivery mode, message id, timestamp, type: in this order.
_FLAGS = (0b1111_0000_1110_0000).to_bytes(2)
_PERSISTENT = (2).to_bytes(1)


def encode_properties(message: Message) -> bytes:
    """Return the flags and the properties of a content header.

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
            _FLAGS,
            _short_string(message.content_type),
            _short_string("UTF-8"),
            len(headers).to_bytes(4),
            headers,
            _PERSISTENT,
            len(message_id).to_bytes(1),
            message_id,
            int(message.timestamp.timestamp()).to_bytes(8),
            _short_string(message.type),
        )
    )


@lru_cache(maxsize=256)
def _short_string(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(1) + data


@lru_cache(maxsize=256)
def _string_field(name: str) -> bytes:
    return _short_string(name) + b"S"
