"""Whole messages on the wire: what we write the client reads, and what we read is what the client reads."""

import tomllib
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.adapters.base_connection import BaseConnection
from pika.adapters.utils.io_services_utils import _AsyncTransportBase
from pika.connection import Connection

from paybell.messaging.broker import MESSAGE_BODY_MAX, Confirm, Delivery, Message
from paybell.messaging.rabbitmq.frame_reader import read_answer, read_delivery
from paybell.messaging.rabbitmq.frame_writer import write_message
from paybell.messaging.rabbitmq.frames import Incomplete, cut_frame

FRAME_MAX = 131_072
SHORT = st.text(max_size=60)
TEXTS = st.dictionaries(SHORT, st.text(max_size=300), max_size=8)
KEY = (1, b"paybell-1")


def hears(delivery: Delivery) -> None:
    del delivery


def frames(data: bytes) -> list[Any]:
    """Read all with the client's decoder."""
    read: list[Any] = []
    while data:
        size, frame = pika.frame.decode_frame(data)
        assert frame is not None
        read.append(frame)
        data = data[size:]
    return read


def delivery(
    properties: pika.BasicProperties,
    body: bytes,
    *,
    exchange: str = "pay.direct",
    key: str = "pay.success",
    tag: int = 7,
    consumer: str = "paybell-1",
    channel: int = 1,
) -> bytes:
    """Write a delivery with the client's own encoder, as a broker does."""
    method = pika.spec.Basic.Deliver(consumer, tag, redelivered=False, exchange=exchange, routing_key=key)
    pieces = [
        pika.frame.Method(channel, method).marshal(),
        pika.frame.Header(channel, len(body), properties).marshal(),
    ]
    parts = (body[start : start + FRAME_MAX - 8] for start in range(0, len(body), FRAME_MAX - 8))
    return b"".join([*pieces, *(pika.frame.Body(channel, part).marshal() for part in parts)])


def read(data: bytes, at: int = 0) -> Delivery | None:
    found = read_delivery(data, at, {KEY: hears})
    if found is None:
        return None
    assert found[0] is hears
    assert found[2] == len(data)
    return found[1]


def message(**changes: object) -> Message:
    given: dict[str, object] = {
        "exchange": "pay.direct", "routing_key": "pay.success", "body": b"1", "message_id": "1-2#a.d",
        "content_type": "text/x-json", "type": "pay.success", "timestamp": datetime(2026, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    return Message(**given | changes)  # type: ignore[arg-type]


@given(SHORT, SHORT, st.binary(max_size=200), TEXTS, st.booleans())
def test_the_client_reads_what_we_write(
    exchange: str, key: str, body: bytes, headers: Mapping[str, str], mandatory: bool
) -> None:
    one = message(exchange=exchange, routing_key=key, body=body, headers=headers, must_route=mandatory)

    method, header, *bodies = frames(write_message(3, one, FRAME_MAX))

    said = method.method
    assert isinstance(said, pika.spec.Basic.Publish)
    assert (said.exchange, said.routing_key, said.mandatory, said.immediate) == (exchange, key, mandatory, 0)
    assert {frame.channel_number for frame in (method, header, *bodies)} == {3}
    assert header.properties.headers == headers
    assert header.body_size == len(body)
    assert b"".join(frame.fragment for frame in bodies) == body


def test_a_long_body_is_cut_into_frames_that_the_broker_takes() -> None:
    body = bytes(range(256)) * 100

    _, _, *bodies = frames(write_message(1, message(body=body), 4_096))

    assert max(len(frame.marshal()) for frame in bodies) == 4_096
    assert b"".join(frame.fragment for frame in bodies) == body


@pytest.mark.parametrize("name", ["exchange", "routing_key", "message_id"])
def test_a_name_without_room_is_refused_before_anything_is_written(name: str) -> None:
    with pytest.raises(OverflowError):
        write_message(1, message(**{name: "n" * 256}), FRAME_MAX)


PROPERTIES = st.builds(
    pika.BasicProperties,
    content_type=st.none() | SHORT,
    content_encoding=st.none() | SHORT,
    headers=st.none() | TEXTS,
    delivery_mode=st.none() | st.just(2),
    priority=st.none() | st.just(5),
    correlation_id=st.none() | SHORT,
    reply_to=st.none() | SHORT,
    expiration=st.none() | SHORT,
    message_id=st.none() | SHORT,
    timestamp=st.none() | st.just(1_700_000_000),
    type=st.none() | SHORT,
    user_id=st.none() | SHORT,
    app_id=st.none() | SHORT,
    cluster_id=st.none() | SHORT,
)


@given(PROPERTIES, st.binary(min_size=1, max_size=300), SHORT, SHORT, st.integers(1, 2**63))
def test_a_whole_delivery_is_read_as_the_client_reads_it(
    properties: pika.BasicProperties, body: bytes, exchange: str, key: str, tag: int
) -> None:
    found = read(delivery(properties, body, exchange=exchange, key=key, tag=tag))

    assert found == Delivery(
        tag,
        exchange,
        key,
        body,
        properties.content_type or "",
        properties.message_id or "",
        properties.headers or {},
    )


@given(PROPERTIES, st.binary(min_size=1, max_size=50), st.data())
def test_a_part_of_a_delivery_is_left_until_the_rest_is_there(
    properties: pika.BasicProperties, body: bytes, data: st.DataObject
) -> None:
    whole = delivery(properties, body)
    part = data.draw(st.integers(0, len(whole) - 1))

    with pytest.raises(Incomplete):
        read(whole[:part])


@given(PROPERTIES, st.binary(min_size=1, max_size=50), st.data())
def test_spoilt_bytes_never_break_anything(
    properties: pika.BasicProperties, body: bytes, data: st.DataObject
) -> None:
    whole = bytearray(delivery(properties, body))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))

    with suppress(Incomplete):
        read_delivery(bytes(whole), 0, {KEY: hears})


@pytest.mark.parametrize(
    "data",
    [
        delivery(pika.BasicProperties(headers={"count": 3}), b"1"),
        delivery(pika.BasicProperties(headers={"inner": {"a": "b"}}), b"1"),
        delivery(pika.BasicProperties(), b""),
        delivery(pika.BasicProperties(), b"1" * (MESSAGE_BODY_MAX + 1)),
        delivery(pika.BasicProperties(), b"1" * (FRAME_MAX * 2)),
        delivery(pika.BasicProperties(), b"1", channel=2),
        delivery(pika.BasicProperties(), b"1", consumer="another"),
        pika.frame.Method(1, pika.spec.Basic.Ack(1)).marshal(),
        pika.frame.Heartbeat().marshal(),
    ],
    ids=["number", "table", "empty", "long", "frames", "channel", "consumer", "ack", "heartbeat"],
)
def test_what_is_unusual_is_left_to_the_client(data: bytes) -> None:
    assert read(data) is None
    assert frames(cut_frame(data, 0))[0].marshal() == cut_frame(data, 0)


def test_text_that_is_not_utf_8_is_left_to_the_client() -> None:
    data = delivery(pika.BasicProperties(message_id="mmmm"), b"1").replace(b"mmmm", b"\xff\xfe\xff\xfe")

    assert read(data) is None


def test_frames_of_another_channel_between_are_left_to_the_client() -> None:
    data = delivery(pika.BasicProperties(), b"1")
    method = len(cut_frame(data, 0))
    header = len(cut_frame(data, method))
    stranger = delivery(pika.BasicProperties(), b"2", channel=2)
    other = cut_frame(stranger, len(cut_frame(stranger, 0)))

    assert read(data[:method] + other + data[method + header :]) is None


@pytest.mark.parametrize("multiple", [True, False])
@pytest.mark.parametrize(
    ("method", "confirm"),
    [(pika.spec.Basic.Ack, Confirm.CONFIRMED), (pika.spec.Basic.Nack, Confirm.REFUSED)],
)
def test_a_confirm_is_read_as_the_client_writes_it(
    method: type[pika.amqp_object.Method], confirm: Confirm, multiple: bool
) -> None:
    data = pika.frame.Method(1, method(9, multiple=multiple)).marshal()
    told: list[tuple[int, Confirm, bool]] = []
    publishers = {1: lambda *answer: told.append(answer)}

    assert read_answer(b"before" + data, 6, publishers) == 6 + len(data)
    assert told == [(9, confirm, multiple)]
    assert read_answer(data, 0, {2: publishers[1]}) is None
    for part in range(len(data)):
        with pytest.raises(Incomplete):
            read_answer(data[:part], 0, publishers)
    assert len(told) == 1


def test_the_client_is_held_at_one_version_while_names_of_its_that_are_not_public_are_relied_on() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]

    assert f"pika=={version('pika')}" in project["dependencies"]


def test_the_client_still_has_what_we_replace() -> None:
    """Names of its that are not public; a new version of the client that drops one fails here first."""
    for name in ("_on_data_available", "_process_frame", "_output_marshaled_frames"):
        assert callable(getattr(Connection, name))
    assert callable(BaseConnection._proto_connection_made)
    assert _AsyncTransportBase._MAX_RECV_BYTES == 4_096
