"""Deliveries and confirms out of the bytes RabbitMQ sends: those that are whole and have nothing unusual.

What is left to the client is told by None, which does not mean that it is wrong.
"""

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache

from paybell.messaging.broker import MESSAGE_BODY_MAX, Confirm, Delivery
from paybell.messaging.rabbitmq.frames import BASIC, BODY, CONTENT_SIZE, HEADER, LONG, METHOD, frame_at

_DELIVER = struct.pack(">HH", BASIC, 60)
_TAG = struct.Struct(">Q")
# A tag and the bits: for all up to it, put it back.
_ANSWER = struct.Struct(">QB")
_ANSWERS = {
    struct.pack(">HH", BASIC, 80): Confirm.CONFIRMED,
    struct.pack(">HH", BASIC, 120): Confirm.REFUSED,
}
# In the order of the properties.
_CONTENT_TYPE, _ENCODING, _HEADERS, _MODE, _PRIORITY = 1 << 15, 1 << 14, 1 << 13, 1 << 12, 1 << 11
_SHORT_STRINGS = (1 << 10, 1 << 9, 1 << 8)
_MESSAGE_ID, _MORE_FLAGS = 1 << 7, 1
# The type of a table's value that is a text.
_TEXT = ord("S")

OnDelivery = Callable[[Delivery], object]
# Who gets deliveries, by channel number and consumer tag.
Subscriptions = Mapping[tuple[int, bytes], OnDelivery]
# Called with a tag, its confirm, and whether that is for all tags up to it.
OnAnswer = Callable[[int, Confirm, bool], object]
# Who gets confirms, by channel number.
Publishers = Mapping[int, OnAnswer]


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
    kind, channel, method, method_end = frame_at(data, at)
    if kind != METHOD or not data.startswith(_DELIVER, method):
        return None
    try:
        tag_end = method + 5 + data[method + 4]
        consumer = subscriptions[channel, data[method + 5 : tag_end]]
        *header, properties, header_end = frame_at(data, method_end + 1)
        body_size = _TAG.unpack_from(data, properties + 4)[0]
        if header != [HEADER, channel] or not 0 < body_size <= MESSAGE_BODY_MAX:
            return None
        *content, body, body_end = frame_at(data, header_end + 1)
        if content != [BODY, channel] or body_end - body != body_size:
            return None
        exchange, routing_key = _names(data[tag_end + 9 : method_end])
        content_type, headers, message_id = _properties(data, properties + CONTENT_SIZE, header_end)
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
    kind, channel, method, end = frame_at(data, at)
    said = _ANSWERS.get(data[method : method + 4]) if kind == METHOD else None
    if said is None or channel not in publishers:
        return None
    tag, bits = _ANSWER.unpack_from(data, method + 4)
    publishers[channel](tag, said, bool(bits & 1))
    return end + 1


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
        table_end = at + 4 + LONG.unpack_from(data, at)[0]
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
        value_end = start + LONG.unpack_from(data, name_end + 1)[0]
        table[_name(data[at + 1 : name_end])] = data[start:value_end].decode()
        at = value_end
    if at != end:
        raise ValueError
    return table


@lru_cache(maxsize=256)
def _name(data: bytes) -> str:
    return data.decode()


def _short_string(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode(), end
