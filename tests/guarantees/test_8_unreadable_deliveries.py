"""Promise 8: what cannot be read is dead at once, and kept as it came."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Self

import msgspec
import pytest
from notebook import BINDING, deliveries, event_members, notebook

from paybell.messaging import Binding, PayOrderEvent, Queue, listener
from paybell.messaging.broker import MESSAGE_BODY_MAX, Delivery
from paybell.messaging.events import PAY_EVENTS
from paybell.messaging.failures import Chosen
from paybell.messaging.listener_runner import ListenerRunner
from paybell.messaging.local import LocalBroker
from paybell.storage import Database, Query, Transaction
from paybell.telemetry.observers import Observer
from paybell.testing import FrozenClock

JAVA_LONG = bytes.fromhex(
    "aced00057372000e6a6176612e6c616e672e4c6f6e673b8be490cc8f23df0200014a000576616c7565"
    "787200106a6176612e6c616e672e4e756d62657286ac951d0b94e08b0200007870"
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"abc",
        b"0",
        b"-1",
        b"+1",
        b"1.0",
        b"1e3",
        b"0x10",
        b"9223372036854775808",
        b"1" * 20,
        b'"5001',
        b"1 2",
        b"null",
        b"[5001]",
        b'{"bizOrderNo": 5001}',
        b"\0",
        b"5001\0",
        b"\xff\xfe5\x000\x00",
        "\N{FULLWIDTH DIGIT FIVE}".encode(),
        JAVA_LONG + bytes(8),
        JAVA_LONG + (-5).to_bytes(8, "big", signed=True),
        JAVA_LONG + (5001).to_bytes(8, "big") + b"\0",
        JAVA_LONG,
    ],
    ids=lambda body: ascii(body[-24:]),
)
async def test_an_unreadable_delivery_is_dead_at_once(trade_url: str, body: bytes) -> None:
    """Trying again cannot mend it; its neighbours are applied, and the body is kept as it came."""
    clock = FrozenClock()
    async with notebook(trade_url, clock) as book:
        await book.runner.apply(deliveries(1, body, 2))
        clock.advance(1_000_000)

        assert await book.runner.retry_once() == 0
        assert await book.written() == [1, 2]
        (row,) = await book.kept()
        assert (row["state"], row["reason"], row["attempts"]) == ("dead", "unreadable", 1)
        assert row["body"] == body


async def test_a_body_that_was_cut_is_not_read(trade_url: str) -> None:
    """What is left of an oversized body may look like an order number."""
    async with notebook(trade_url, FrozenClock()) as book:
        (whole,) = deliveries(b"5001")
        await book.runner.apply([replace(whole, cut=True)])

        (row,) = await book.kept()
        assert (row["state"], row["reason"]) == ("dead", "unreadable")
        assert str(MESSAGE_BODY_MAX) in row["error"]
        assert await book.written() == []


HOSTILE = {
    "nul\0name": "nul\0value",
    "lone surrogate \ud800": "\udfff",
    "\N{PILE OF POO}" * 200: "x" * 100_000,
    "bytes": b"\x00\xff",
    "nested": {"table": [1, {"deep": b"\0"}]},
    "time": datetime(2026, 1, 1, tzinfo=UTC),
    "decimal": Decimal("1.5"),
    "not a number": float("nan"),
    "largest": 2**64 - 1,
    "smallest": -(2**63),
    "yes": True,
    "none": None,
    "'; DROP TABLE inbox; --": "$1",
}


async def test_hostile_headers_and_keys_are_kept_safely(trade_url: str) -> None:
    """Whatever a stranger sends can be stored, shown and replayed, and stops nobody else."""
    clock = FrozenClock()
    async with notebook(trade_url, clock) as book:
        book.fails[5] = RuntimeError("nul \0 and surrogate \ud800 and " + "x" * 1_000_000)
        hostile = Delivery(
            1, "ex\0change\ud800" * 50, "key\0" * 500, b"\0junk", "type\0\udc80", "id\0\ud800" * 99, HOSTILE
        )
        await book.runner.apply([hostile, replace(hostile, tag=2, body=b"5"), *deliveries(6)])
        clock.advance(5)
        await book.runner.retry_once()

        assert await book.written() == [6]
        poison, junk = await book.kept()
        assert (junk["state"], junk["body"]) == ("dead", b"\0junk")
        assert (poison["state"], poison["attempts"]) == ("retry", 2)
        assert len(poison["error"]) <= 2_000
        headers = msgspec.json.decode(junk["headers"])
        assert len(headers) == len(HOSTILE)
        assert (headers["largest"], headers["yes"], headers["none"]) == (2**64 - 1, True, None)
        assert headers["nul\ufffdname"] == "nul\ufffdvalue"

        assert await book.failures.replay(Chosen(), "operator") == 1
        del book.fails[5]
        clock.advance(30)
        assert await book.runner.retry_once() == 2
        assert await book.written() == [5, 6]
        assert [row["reason"] for row in await book.kept()] == ["unreadable"]


@pytest.mark.parametrize(
    "body",
    [
        msgspec.json.encode(event_members("")),
        msgspec.json.encode(event_members("x" * 256)),
        msgspec.json.encode(event_members("nul\0")),
        msgspec.json.encode(event_members("id")).replace(b'"5001"', b'"\xff"'),
        msgspec.json.encode(event_members("id")).replace(b'"id"', b'"\\ud800"'),
        b'{"deep":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b"{}",
        b"5001",
    ],
    ids=["no id", "long id", "nul in id", "not utf-8", "surrogate", "deep", "empty", "number"],
)
async def test_a_typed_event_nobody_can_store_is_dead_at_once(trade_database: Database, body: bytes) -> None:
    """An id the inbox cannot hold, or a body the reader chokes on, must not come again forever."""
    heard: list[str] = []

    @listener(Binding(Queue("typed"), PAY_EVENTS, "pay.#"), verify=False)
    async def hear(events: Sequence[PayOrderEvent], tx: Transaction) -> None:
        del tx
        heard.extend(event.event_id for event in events)

    runner: ListenerRunner[PayOrderEvent] = ListenerRunner(
        hear, LocalBroker(), trade_database, FrozenClock(), Observer(), batch_max=10
    )
    good = [msgspec.json.encode(event_members(f"10{number}-2")) for number in (1, 2)]
    await runner.apply(deliveries(good[0], body, good[1]))

    assert heard == ["101-2", "102-2"]
    rows = await trade_database.fetch(Query("SELECT state, reason, body FROM failed_deliveries"))
    assert [tuple(row) for row in rows] == [("dead", "unreadable", body)]


async def test_a_reader_that_breaks_does_not_bring_its_message_again_forever(
    trade_database: Database,
) -> None:
    """A bug in somebody's event class is the message's end, not the listener's."""

    @dataclass(frozen=True)
    class Fragile:
        event_id: str

        @classmethod
        def from_delivery(cls, delivery: Delivery) -> Self:
            return cls({b"1": "one"}[delivery.body])

    @listener(BINDING)
    async def hear(events: Sequence[Fragile], tx: Transaction) -> None:
        del events, tx

    runner: ListenerRunner[Fragile] = ListenerRunner(
        hear, LocalBroker(), trade_database, FrozenClock(), Observer(), batch_max=10
    )
    await runner.apply(deliveries(1, 2))

    assert [row["event_id"] for row in await trade_database.fetch(Query("SELECT * FROM inbox"))] == ["one"]
    rows = await trade_database.fetch(Query("SELECT state, reason, error FROM failed_deliveries"))
    assert [tuple(row) for row in rows] == [("dead", "unreadable", "KeyError: b'2'")]
