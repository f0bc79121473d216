"""What we write of a message's properties is what the client's own decoder reads."""

from datetime import UTC, datetime

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paybell.messaging.broker import Message
from paybell.messaging.rabbitmq.frame_writer import encode_properties

SHORT = st.text(max_size=60)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def message(**changes: object) -> Message:
    given: dict[str, object] = {
        "exchange": "pay.direct", "routing_key": "pay.success", "body": b"1", "message_id": "1-2#a.d",
        "content_type": "text/x-json", "type": "pay.success", "timestamp": datetime(2026, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    return Message(**given | changes)  # type: ignore[arg-type]


@given(SHORT, SHORT, SHORT, TIMES, st.dictionaries(SHORT, st.text(max_size=500), max_size=12))
def test_every_property_is_read_as_it_was_meant(
    content_type: str, message_id: str, kind: str, timestamp: datetime, headers: dict[str, str]
) -> None:
    encoded = encode_properties(
        message(
            content_type=content_type, message_id=message_id, type=kind, timestamp=timestamp, headers=headers
        )
    )
    read = pika.BasicProperties()
    read.decode(encoded)

    assert read == pika.BasicProperties(
        content_type=content_type,
        content_encoding="UTF-8",
        headers=headers,
        delivery_mode=2,
        message_id=message_id,
        timestamp=int(timestamp.timestamp()),
        type=kind,
    )
    assert encoded == b"".join(read.encode())


@pytest.mark.parametrize("field", ["content_type", "message_id", "type"])
def test_a_text_that_has_no_room_is_not_cut(field: str) -> None:
    encode_properties(message(**{field: "x" * 255}))

    with pytest.raises(OverflowError):
        encode_properties(message(**{field: "x" * 256}))
