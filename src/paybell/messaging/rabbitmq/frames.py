"""Whole messages as frames of AMQP 0-9-1 (sections 4.2.3 to 4.2.6): what every message costs, in one go.

The client handles each of a message's frames by itself, as an object, which was half of what relay and
listener cost. These functions write our own messages, and read a delivery that is whole and has nothing
unusual about it; everything else is the client's.
"""

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache

from paybell.messaging.broker import MESSAGE_BODY_MAX, Confirm, Delivery, Message

_METHOD, _HEADER, _BODY = 1, 2, 3
_BASIC = 60
_PUBLISH, _DELIVER = struct.pack(">HH", _BASIC, 40), struct.pack(">HH", _BASIC, 60)
# Type, channel, size of what follows up to the end mark.
_FRAME = struct.Struct(">BHI")
_END = 0xCE
# A header frame up to its properties: the frame's own, class, weight, size of the body.
_CONTENT = struct.Struct(">BHIHHQ")
_CONTENT_SIZE = _CONTENT.size - _FRAME.size
_TAG = struct.Struct(">Q")
# A tag and the bits: for all up to it, put it back.
_ANSWER = struct.Struct(">QB")
_ANSWERS = {
    struct.pack(">HH", _BASIC, 80): Confirm.CONFIRMED,
    struct.pack(">HH", _BASIC, 120): Confirm.REFUSED,
}
_LONG = struct.Struct(">I")
# In the order of the properties.
_CONTENT_TYPE, _ENCODING, _HEADERS, _MODE, _PRIORITY = 1 << 15, 1 << 14, 1 << 13, 1 << 12, 1 << 11
_SHORT_STRINGS = (1 << 10, 1 << 9, 1 << 8)
_MESSAGE_ID, _MORE_FLAGS = 1 << 7, 1
# What we send: content type, encoding, headers, delivery mode, message id, timestamp, type, in this order.
_SENT_FLAGS = (0b1111_0000_1110_0000).to_bytes(2)
_PERSISTENT = (2).to_bytes(1)

OnDelivery = Callable[[Delivery], object]
# Who gets deliveries, by channel number and consumer tag.
Subscriptions = Mapping[tuple[int, bytes], OnDelivery]
# Called with a tag, its confirm, and whether that is for all tags up to it.
OnAnswer = Callable[[int, Confirm, bool], object]
# Who gets confirms, by channel number.
Publishers = Mapping[int, OnAnswer]


def write_message(channel: int, message: Message, frame_max: int) -> bytes:
    """Return a message as Basic.Publish, content header and body, in frames of ``frame_max`` bytes at most.

    Raises:
        OverflowError: a name or a property has no room; see `encode_properties`.
    """
    properties, body = encode_properties(message), message.body
    limit = frame_max - _FRAME.size - 1
    parts = [
        _publish(channel, message.exchange, message.routing_key, message.must_route),
        _CONTENT.pack(_HEADER, channel, _CONTENT_SIZE + len(properties), _BASIC, 0, len(body)),
        properties,
        _MARK,
    ]
    for start in range(0, len(body), limit):
        piece = body[start : start + limit]
        parts += (_FRAME.pack(_BODY, channel, len(piece)), piece, _MARK)
    return b"".join(parts)


_MARK = _END.to_bytes(1)


@lru_cache(maxsize=256)
def _publish(channel: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:
    names = [name.encode() for name in (exchange, routing_key)]
    strings = b"".join(len(name).to_bytes(1) + name for name in names)
    method = _PUBLISH + bytes(2) + strings + mandatory.to_bytes(1)
    return _FRAME.pack(_METHOD, channel, len(method)) + method + _MARK


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


class Incomplete(Exception):
    """The rest of what begins here has not arrived."""


def read_delivery(
    data: bytes, at: int, subscriptions: Subscriptions
) -> tuple[OnDelivery, Delivery, int] | None:
    """Read the delivery that begins here, for one of these subscriptions.

    Returns:
        Its consumer, the delivery, and where it ends. None: it is something else, or something about
        it is unusual, which does not mean wrong.

    Raises:
        Incomplete: it has not arrived as a whole.
    """
    kind, channel, method, method_end = _frame(data, at)
    if kind != _METHOD or not data.startswith(_DELIVER, method):
        return None
    try:
        tag_end = method + 5 + data[method + 4]
        consumer = subscriptions[channel, data[method + 5 : tag_end]]
        *header, properties, header_end = _frame(data, method_end + 1)
        body_size = _TAG.unpack_from(data, properties + 4)[0]
        if header != [_HEADER, channel] or not 0 < body_size <= MESSAGE_BODY_MAX:
            return None
        *content, body, body_end = _frame(data, header_end + 1)
        if content != [_BODY, channel] or body_end - body != body_size:
            return None
        exchange, routing_key = _names(data[tag_end + 9 : method_end])
        content_type, headers, message_id = _properties(data, properties + _CONTENT_SIZE, header_end)
    except (LookupError, ValueError, struct.error):
        return None
    tag = _TAG.unpack_from(data, tag_end)[0]
    delivery = Delivery(
        tag,
        exchange,
        routing_key,
        data[body:body_end],
        content_type,
        message_id,
        headers,
        False,
        bool(data[tag_end + 8] & 1),
    )
    return consumer, delivery, body_end + 1


def read_answer(data: bytes, at: int, publishers: Publishers) -> int | None:
    """Read the Basic.Ack or Basic.Nack that begins here, and pass it to the publisher of its channel.

    Returns:
        Where it ends; None: it is something else.

    Raises:
        Incomplete: it has not arrived as a whole.
    """
    kind, channel, method, end = _frame(data, at)
    said = _ANSWERS.get(data[method : method + 4]) if kind == _METHOD else None
    if said is None or channel not in publishers:
        return None
    tag, bits = _ANSWER.unpack_from(data, method + 4)
    publishers[channel](tag, said, bool(bits & 1))
    return end + 1


def cut_frame(data: bytes, at: int) -> bytes:
    """Return the bytes of the frame that begins here, fewer if it is not whole."""
    if len(data) < at + _FRAME.size:
        return data[at:]
    return data[at : at + _FRAME.size + _LONG.unpack_from(data, at + 3)[0] + 1]


def _frame(data: bytes, at: int) -> tuple[int, int, int, int]:
    """Return a frame's type and channel, and where what it holds begins and ends; 0 for no frame of AMQP."""
    if len(data) < at + _FRAME.size:
        raise Incomplete
    kind, channel, size = _FRAME.unpack_from(data, at)
    end = at + _FRAME.size + size
    if len(data) <= end:
        raise Incomplete
    return kind if data[end] == _END else 0, channel, at + _FRAME.size, end


@lru_cache(maxsize=256)
def _names(data: bytes) -> tuple[str, str]:
    """Read exchange and routing key."""
    middle = 1 + data[0]
    if len(data) != middle + 1 + data[middle]:
        raise ValueError
    return data[1:middle].decode(), data[middle + 1 :].decode()


def _properties(data: bytes, at: int, end: int) -> tuple[str, Mapping[str, object], str]:
    """Read content type, headers and message id."""
    flags = int.from_bytes(data[at : at + 2])
    if flags & _MORE_FLAGS:
        raise ValueError
    at += 2
    content_type, message_id, headers = "", "", {}
    if flags & _CONTENT_TYPE:
        content_type, at = _short_string(data, at)
    if flags & _ENCODING:
        at += 1 + data[at]
    if flags & _HEADERS:
        table_end = at + 4 + _LONG.unpack_from(data, at)[0]
        headers = _table(data, at + 4, table_end)
        at = table_end
    at += bool(flags & _MODE) + bool(flags & _PRIORITY)
    for flag in _SHORT_STRINGS:
        if flags & flag:
            at += 1 + data[at]
    if flags & _MESSAGE_ID:
        message_id, at = _short_string(data, at)
    if at > end:
        raise ValueError
    return content_type, headers, message_id


def _table(data: bytes, at: int, end: int) -> dict[str, object]:
    """Read a table of texts; other values are unusual."""
    table: dict[str, object] = {}
    while at < end:
        name_end = at + 1 + data[at]
        if data[name_end] != _TEXT:
            raise ValueError
        start = name_end + 5
        value_end = start + _LONG.unpack_from(data, name_end + 1)[0]
        table[_name(data[at + 1 : name_end])] = data[start:value_end].decode()
        at = value_end
    if at != end:
        raise ValueError
    return table


_TEXT = ord("S")


@lru_cache(maxsize=256)
def _name(data: bytes) -> str:
    return data.decode()


def _short_string(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode(), end
