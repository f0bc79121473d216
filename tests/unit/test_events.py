"""The wire contract as values: what is read from a delivery, and what proves it."""

import pytest

from paybell.messaging.broker import Delivery
from paybell.messaging.events import (
    SIGNATURE_HEADER,
    PaymentSucceeded,
    PayOrderEvent,
    Unreadable,
    topology,
)

# What ObjectOutputStream writes for Long.valueOf(5001); see facts/seed-system.md.
JAVA_5001 = bytes.fromhex(
    "aced00057372000e6a6176612e6c616e672e4c6f6e673b8be490cc8f23df0200014a000576616c7565"
    "787200106a6176612e6c616e672e4e756d62657286ac951d0b94e08b0200007870"
    "0000000000001389"
)


def delivery(body: bytes, **headers: object) -> Delivery:
    """A delivery with this body."""
    return Delivery(1, "pay.direct", "pay.success", body, headers=headers)


@pytest.mark.parametrize(
    ("body", "number"),
    [
        (b"5001", 5001),
        (b'"5001"', 5001),
        (b" \t5001\r\n", 5001),
        (b"05001", 5001),
        (JAVA_5001, 5001),
        (b"1", 1),
        (b"9223372036854775807", 2**63 - 1),
        (b'"9223372036854775807"', 2**63 - 1),
        (JAVA_5001[:-8] + (2**63 - 1).to_bytes(8, "big"), 2**63 - 1),
    ],
    ids=lambda value: ascii(value[-20:]) if isinstance(value, bytes) else str(value),
)
def test_an_order_number_is_read_from_any_accepted_form(body: bytes, number: int) -> None:
    event = PaymentSucceeded.from_delivery(delivery(body))

    assert event.biz_order_no == number
    assert event.event_id == f"pay.success:{number}"


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b'"', b'""', b'"5001', b'5001"', b"'5001'", b'"5 001"', b"5 001", b"5,001", b"5001.0"),
        *(b"0", b"-1", b"+1", b"1e3", b"0x1389", b"5001n", b"null", b"true", b"[5001]", b'{"id":5001}'),
        *(b"9223372036854775808", b"1" * 20, b"1" * 60_000, b"\0005001", b"5001\0", b"\xef\xbb\xbf5001"),
        "\N{ARABIC-INDIC DIGIT FIVE}".encode(),
        JAVA_5001[:-1],
        JAVA_5001 + b"\0",
        JAVA_5001[:-8] + bytes(8),
        JAVA_5001[:-8] + b"\xff" * 8,
        JAVA_5001.replace(b"Long", b"Lung"),
        b"\xac\xed\x00\x05sr",
    ],
    ids=lambda body: ascii(body[-20:]),
)
def test_anything_else_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        PaymentSucceeded.from_delivery(delivery(body))


@pytest.mark.parametrize("header", [None, b"bytes", 5, True, ["list"], {"a": "table"}], ids=repr)
def test_a_signature_that_is_no_text_is_none(header: object) -> None:
    """AMQP headers have types, and whoever forges one chooses it."""
    event = PaymentSucceeded.from_delivery(delivery(b"5001", **{SIGNATURE_HEADER: header}))

    assert event.signature == ""


@pytest.mark.parametrize("body", [b"", b"5001", b"{}", b"[]", b'{"id": 5}', b"\xff", b"null"], ids=ascii)
def test_what_is_no_event_of_a_pay_order_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        PayOrderEvent.from_delivery(delivery(body))


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_the_topology_is_that_of_the_article(queue_type: str) -> None:
    """Fixed names; the queue's type is the one thing that may differ."""
    declared = topology(queue_type)
    (binding,) = declared.bindings

    assert {(exchange.name, exchange.type) for exchange in declared.exchanges} == {
        ("pay.direct", "direct"),
        ("pay.events", "topic"),
    }
    assert (binding.exchange.name, binding.key) == ("pay.direct", "pay.success")
    assert (binding.queue.name, binding.queue.type) == ("trade.pay.success.queue", queue_type)
