"""Promise 8: what nobody can process ends in the dead letters with its reason, and can be replayed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Self

import msgspec
import pytest
from notebook import BINDING, Notebook, bare, deliveries, event_members, notebook
from structlog.testing import capture_logs
from support import connected, seeded, until

from paybell.backoff import LISTENER_RETRY_SECONDS
from paybell.messaging import Binding, PayOrderEvent, Queue, Rejected, listener
from paybell.messaging.broker import MESSAGE_BODY_MAX, Confirm, Delivery, Topology
from paybell.messaging.events import PAY_EVENTS, PaymentSucceeded
from paybell.messaging.failure_rows import TAKEN_SECONDS
from paybell.messaging.failures import Chosen
from paybell.messaging.listener import Verdicts
from paybell.messaging.listener_runner import RETRY_BATCH_MAX, ListenerRunner
from paybell.messaging.local import LocalBroker
from paybell.storage import Database, Query, Transaction
from paybell.telemetry.observers import Observer
from paybell.testing import FrozenClock
from paybell.trade.errors import PayServiceUnavailable

JAVA_LONG = bytes.fromhex(
    "aced00057372000e6a6176612e6c616e672e4c6f6e673b8be490cc8f23df0200014a000576616c7565"
    "787200106a6176612e6c616e672e4e756d62657286ac951d0b94e08b0200007870"
)


async def waits_at(barrier: asyncio.Barrier) -> bool:
    """Say whether somebody has come to a barrier."""
    return barrier.n_waiting > 0


async def exhaust(book: Notebook, clock: FrozenClock) -> None:
    """Let every retry come due and fail."""
    for wait in LISTENER_RETRY_SECONDS:
        clock.advance(wait)
        await book.runner.retry_once()


async def test_one_poisonous_event_among_five_hundred(trade_url: str) -> None:
    """The 499 are applied at once; the one is tried five times in 12 minutes 35 and then kept as dead."""
    clock, broker, stop = FrozenClock(), LocalBroker(), asyncio.Event()
    async with notebook(trade_url, clock, broker) as book:
        book.fails[250] = RuntimeError("poison")
        await broker.declare(Topology([BINDING.exchange], [BINDING]))
        running = asyncio.create_task(book.runner.run(stop))
        confirms = await broker.publish([bare(number) for number in range(1, 501)], 30)
        stop.set()
        await running

        assert confirms == [Confirm.CONFIRMED] * 500
        others = [number for number in range(1, 501) if number != 250]
        assert await book.written() == others

        states = []
        for wait in LISTENER_RETRY_SECONDS:
            clock.advance(wait - 0.001)
            assert await book.runner.retry_once() == 0
            clock.advance(0.001)
            assert await book.runner.retry_once() == 1
            states += [(row["state"], row["attempts"]) for row in await book.kept()]
        clock.advance(1_000_000)
        assert await book.runner.retry_once() == 0

        assert states == [("retry", 2), ("retry", 3), ("retry", 4), ("dead", 5)]
        assert book.tried.count([250]) == 5
        assert await book.written() == others
        (row,) = await book.kept()
        assert (row["event_id"], row["listener"]) == ("pay.success:250", "notebook")
        assert (row["reason"], row["error"]) == ("listener_failed", "RuntimeError: poison")
        assert (row["exchange"], row["routing_key"], row["body"]) == ("pay.direct", "pay.success", b"250")
        assert row["due_at"] is None


async def test_a_failure_is_in_the_log_with_its_trace(trade_url: str) -> None:
    """Once for each batch, however many fail; nothing of the body, which may be anything."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    poisonous = replace(deliveries(1)[0], headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    async with notebook(trade_url, FrozenClock()) as book:
        book.fails[1] = RuntimeError("poison")
        with capture_logs() as logs:
            await book.runner.apply([poisonous, *deliveries(*(b"secret %d" % number for number in range(9)))])

    (line,) = logs
    assert (line["event"], line["listener"], line["count"]) == ("deliveries_failed", "notebook", 10)
    assert [one["reason"] for one in line["some"]] == ["unreadable"] * 5
    assert "secret" not in str(line)
    async with notebook(trade_url, FrozenClock()) as book:
        book.fails[1] = RuntimeError("poison")
        with capture_logs() as logs:
            await book.runner.apply([poisonous])

    trail = logs[0]["exception"].splitlines()
    assert any("notebook.py" in line for line in trail)  # where it was raised
    assert trail[-1] == "RuntimeError: poison"
    assert logs[0]["some"] == [
        {
            "event_id": "pay.success:1",
            "reason": "listener_failed",
            "attempts": 1,
            "state": "retry",
            "trace_id": trace,
        }
    ]


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


async def test_an_outage_of_the_database_uses_up_no_attempt(trade_url: str) -> None:
    """The connection dies under the listener again and again; the events wait and are applied."""
    clock = FrozenClock()
    async with notebook(trade_url, clock) as book:
        book.dies = [2, 2]
        began = clock.now()
        await book.runner.apply(deliveries(1, 2, 3))

        assert await book.written() == [1, 2, 3]
        assert await book.kept() == []
        assert book.tried == [[1, 2, 3]] * 3
        assert clock.now() > began  # it waited in between


async def test_an_outage_during_a_retry_uses_up_no_attempt(trade_url: str) -> None:
    clock = FrozenClock()
    async with notebook(trade_url, clock) as book:
        book.fails[1] = RuntimeError("not yet")
        await book.runner.apply(deliveries(1))
        clock.advance(5)
        book.dies = [1, 1]
        await book.runner.retry_once()

        (row,) = await book.kept()
        assert (row["state"], row["attempts"], row["reason"]) == ("retry", 2, "listener_failed")
        clock.advance(30)
        book.dies, book.fails = [1, 1], {}
        assert await book.runner.retry_once() == 1
        assert (await book.written(), await book.kept()) == ([1], [])


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_terminate_backend(pg_backend_pid())",
        "SET LOCAL lock_timeout = '20ms'; LOCK TABLE held",
        "DO $$ BEGIN RAISE deadlock_detected; END $$",
        "DO $$ BEGIN RAISE query_canceled; END $$",
    ],
    ids=["connection killed", "lock timeout", "deadlock", "statement timeout"],
)
async def test_an_event_that_ends_its_transaction_each_time_is_found_and_kept(
    trade_url: str, statement: str
) -> None:
    """From here it looks like an outage; but the database answers, and its neighbours are applied."""
    clock = FrozenClock()
    async with notebook(trade_url, clock) as book, connected(trade_url) as other:
        await other.execute("CREATE TABLE held ()")
        async with other.transaction():
            await other.execute("LOCK TABLE held")
            book.runs = {number: Query(statement) for number in (137, 138)}
            await book.runner.apply(deliveries(*range(1, 201)))

            others = [number for number in range(1, 201) if number not in book.runs]
            assert await book.written() == await book.remembered() == others
            assert [(row["state"], row["reason"], row["attempts"]) for row in await book.kept()] == [
                ("retry", "transaction_ended", 1)
            ] * 2
            assert len(book.tried) < 40
            await exhaust(book, clock)
            assert [(row["state"], row["attempts"]) for row in await book.kept()] == [("dead", 5)] * 2

        book.runs = {}
        await book.failures.replay(Chosen(), "operator")
        assert await book.runner.retry_once() == 2
        assert await book.written() == list(range(1, 201))


@pytest.mark.parametrize(
    "error",
    [TimeoutError("slow"), ConnectionResetError("gone"), OSError("no"), PayServiceUnavailable(), KeyError(1)],
    ids=repr,
)
async def test_a_failure_of_the_listeners_own_is_no_outage_of_the_database(
    trade_url: str, error: Exception
) -> None:
    """Whatever it raises uses up attempts, at first and on each retry; nothing loops forever."""
    clock = FrozenClock()
    async with notebook(trade_url, clock) as book:
        book.fails[1] = error
        await book.runner.apply(deliveries(1, 2))
        await exhaust(book, clock)

        assert await book.written() == [2]
        (row,) = await book.kept()
        assert (row["state"], row["attempts"]) == ("dead", 5)
        assert row["error"].startswith(type(error).__name__)


async def test_one_failing_retry_does_not_hold_up_the_others(trade_url: str) -> None:
    """Also when what fails is a statement, and its transaction with it."""
    clock = FrozenClock()
    async with notebook(trade_url, clock) as book:
        book.fails = {number: RuntimeError("not yet") for number in range(1, 6)}
        await book.runner.apply(deliveries(*range(1, 6)))
        book.fails = {2: RuntimeError("still not")}
        book.runs = {4: Query("SELECT 1 / 0")}
        clock.advance(5)

        assert await book.runner.retry_once() == 5
        assert await book.written() == await book.remembered() == [1, 3, 5]
        assert [(row["event_id"], row["attempts"]) for row in await book.kept()] == [
            ("pay.success:2", 2),
            ("pay.success:4", 2),
        ]


async def test_a_rejected_event_is_dead_at_once(trade_url: str) -> None:
    """The listener knows that trying again is no use, the first time or at a retry."""
    clock = FrozenClock()
    async with notebook(trade_url, clock) as book:
        book.rejects[1] = "not_wanted"
        book.fails[2] = RuntimeError("not yet")
        await book.runner.apply(deliveries(1, 2, 3))
        book.fails, book.rejects = {}, {2: "not_wanted"}
        clock.advance(5)
        await book.runner.retry_once()

        assert await book.written() == await book.remembered() == [3]
        assert [(row["event_id"], row["state"], row["reason"]) for row in await book.kept()] == [
            ("pay.success:1", "dead", "not_wanted"),
            ("pay.success:2", "dead", "not_wanted"),
        ]


async def test_the_same_failure_again_is_only_counted(trade_url: str) -> None:
    """A redelivery neither multiplies rows nor starts the attempts anew, waiting or dead."""
    clock = FrozenClock()
    async with notebook(trade_url, clock) as book:
        book.fails[1] = RuntimeError("poison")
        await book.runner.apply(deliveries(1, b"junk"))
        (waiting, _) = await book.kept()
        clock.advance(1)
        await book.runner.apply(deliveries(1, b"junk"))
        (still_waiting, junk) = await book.kept()
        await exhaust(book, clock)
        await book.runner.apply(deliveries(1))
        (dead, _) = await book.kept()

        assert (still_waiting["received"], still_waiting["attempts"]) == (2, 1)
        assert still_waiting["due_at"] == waiting["due_at"]
        assert (junk["received"], junk["state"]) == (2, "dead")
        assert (dead["received"], dead["attempts"], dead["state"]) == (3, 5, "dead")
        assert dead["first_failed_at"] < dead["last_failed_at"]


async def test_a_replay_applies_once_under_the_same_event_id(trade_url: str) -> None:
    """Replaying twice, and by two people at once, is replaying once; so is retrying by two processes."""
    clock, meeting = FrozenClock(), 0
    both_have_taken_them = asyncio.Barrier(2)

    async def screen(events: Sequence[PaymentSucceeded]) -> Verdicts:
        nonlocal meeting
        del events
        if meeting:
            meeting -= 1
            await both_have_taken_them.wait()
        return {}

    async with (
        notebook(trade_url, clock, screen=screen) as book,
        notebook(trade_url, clock, screen=screen) as other,
    ):
        book.fails = {number: RuntimeError("poison") for number in (1, 2, 3)}
        await book.runner.apply(deliveries(1, 2, 3))
        await exhaust(book, clock)
        book.fails = {}

        replayed = await asyncio.gather(*(one.failures.replay(Chosen(), "operator") for one in (book, other)))
        assert sum(replayed) == 3
        assert await book.failures.replay(Chosen(), "operator") == 0
        meeting = 2
        slow = asyncio.create_task(book.runner.retry_once())
        await until(lambda: waits_at(both_have_taken_them))
        assert await other.runner.retry_once() == 0  # they are in hand, until it has been too long
        clock.advance(TAKEN_SECONDS)
        assert await other.runner.retry_once() == await slow == 3  # each was applied by one

        assert await book.written() == await book.remembered() == [1, 2, 3]
        assert await book.kept() == []
        assert await book.failures.replay(Chosen(), "operator") == 0
        assert await book.runner.retry_once() == 0
        await book.runner.apply(deliveries(1, 2, 3))
        assert await book.written() == [1, 2, 3]


async def test_a_thousand_replayed_twice_and_interrupted_are_applied_once_each(trade_url: str) -> None:
    """Replays that race, replays of what waits already, and a retry that is cut off half way and resumed."""
    rng, clock = seeded(), FrozenClock()
    async with notebook(trade_url, clock) as book, notebook(trade_url, clock) as other:
        numbers = list(range(1, 1_001))
        book.rejects = dict.fromkeys(numbers, "not_wanted")
        await book.runner.apply(deliveries(*numbers))
        book.rejects = {}

        replayed = await asyncio.gather(
            *(one.failures.replay(Chosen(), "operator") for one in (book, other, book, other))
        )
        assert sum(replayed) == len(numbers)
        other.dies = rng.sample(numbers, 10)  # its connection is lost in the middle of a batch
        retrying = asyncio.create_task(other.runner.retry_once())
        await asyncio.sleep(0)
        retrying.cancel()
        await asyncio.gather(retrying, return_exceptions=True)
        while (await book.failures.counts())["retry"]:
            assert await book.failures.replay(Chosen(), "operator") == 0
            await asyncio.gather(book.runner.retry_once(), other.runner.retry_once())
            clock.advance(LISTENER_RETRY_SECONDS[-1])

        assert await book.written() == await book.remembered() == numbers
        assert await book.kept() == []


async def test_a_replay_takes_what_was_asked_for_and_nothing_else(trade_url: str) -> None:
    clock = FrozenClock()
    async with notebook(trade_url, clock) as book:
        book.rejects = {1: "one_reason", 2: "another", 3: "another"}
        book.fails[4] = RuntimeError("waiting anyway")
        await book.runner.apply(deliveries(1, 2, 3, 4))
        ids = {row["event_id"]: row["id"] for row in await book.kept()}

        assert (
            await book.failures.replay(
                Chosen(ids=[ids["pay.success:2"], ids["pay.success:4"], 99_999]), "operator"
            )
            == 1
        )
        assert await book.failures.replay(Chosen(reason="one_reason"), "operator") == 1
        assert await book.failures.counts() == {"retry": 3, "dead": 1}
        assert await book.failures.replay(Chosen(ids=[]), "operator") == 0
        assert [one.event_id for one in await book.failures.list(Chosen(reason="another"))] == [
            "pay.success:3"
        ]


async def test_a_replay_that_fails_again_is_bounded_again(trade_url: str) -> None:
    clock = FrozenClock()
    async with notebook(trade_url, clock) as book:
        book.fails[1] = RuntimeError("poison")
        await book.runner.apply(deliveries(1))
        await exhaust(book, clock)
        await book.failures.replay(Chosen(), "operator")
        for _ in range(20):
            await book.runner.retry_once()
            clock.advance(1_000_000)

        (row,) = await book.kept()
        assert (row["state"], row["attempts"]) == ("dead", 5)
        assert book.tried.count([1]) == 5 + 4


async def test_what_was_applied_meanwhile_is_not_applied_by_its_retry(trade_url: str) -> None:
    """The sender repeated it and it worked; its failure is forgotten without doing it twice."""
    clock = FrozenClock()
    async with notebook(trade_url, clock) as book:
        book.fails = {1: RuntimeError("not yet")}
        book.rejects = {2: "not_wanted"}
        await book.runner.apply(deliveries(1, 2))
        book.fails, book.rejects = {}, {}
        await book.runner.apply(deliveries(1, 2))
        await book.failures.replay(Chosen(), "operator")
        clock.advance(5)

        assert await book.runner.retry_once() == 2
        assert await book.written() == [1, 2]
        assert await book.kept() == []


async def test_a_thousand_failures_are_retried_in_bounded_batches(trade_url: str) -> None:
    """A backlog neither makes one endless transaction nor starves."""
    clock = FrozenClock()
    async with notebook(trade_url, clock) as book:
        numbers = list(range(1, 2 * RETRY_BATCH_MAX + 51))
        book.rejects = dict.fromkeys(numbers, "not_wanted")
        await book.runner.apply(deliveries(*numbers))
        book.rejects = {}
        assert await book.failures.replay(Chosen(), "operator") == len(numbers)

        assert [await book.runner.retry_once() for _ in range(4)] == [RETRY_BATCH_MAX, RETRY_BATCH_MAX, 50, 0]
        assert await book.written() == numbers


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


async def test_a_screen_that_breaks_uses_up_attempts(trade_url: str) -> None:
    """What is asked before the transaction may fail like the listener itself."""
    clock = FrozenClock()
    broken = True

    async def screen(events: Sequence[PaymentSucceeded]) -> Verdicts:
        if broken:
            raise RuntimeError("screen is down")
        return {
            event.event_id: Rejected(event.event_id, "bad") for event in events if event.biz_order_no == 2
        }

    async with notebook(trade_url, clock, screen=screen) as book:
        await book.runner.apply(deliveries(1, 2))
        clock.advance(5)
        assert await book.runner.retry_once() == 2
        assert [(row["state"], row["attempts"]) for row in await book.kept()] == [("retry", 2)] * 2

        broken = False
        clock.advance(30)
        assert await book.runner.retry_once() == 2
        assert await book.written() == [1]
        assert [(row["state"], row["reason"]) for row in await book.kept()] == [("dead", "bad")]


async def test_a_dead_letter_is_on_disk_before_its_delivery_is_settled(trade_url: str) -> None:
    """A crash between the two brings it again, and it is one dead letter still."""
    broker = LocalBroker()
    async with notebook(trade_url, FrozenClock(), broker) as book:
        book.fails[1] = RuntimeError("poison")
        await broker.declare(Topology([BINDING.exchange], [BINDING]))
        publishing = asyncio.create_task(broker.publish([bare(1)], 60))
        async with broker.consume(BINDING.queue.name, 10) as crashing:
            await book.runner.apply(await crashing.receive(10))
        async with connected(trade_url) as connection:
            assert await connection.fetchval("SELECT count(*) FROM failed_deliveries") == 1
        assert not publishing.done()

        async with broker.consume(BINDING.queue.name, 10) as consumer:
            again = await asyncio.wait_for(consumer.receive(10), 10)
            await book.runner.apply(again)
            await consumer.acknowledge(again)
        assert await publishing == [Confirm.CONFIRMED]
        assert [(row["received"], row["attempts"]) for row in await book.kept()] == [(2, 1)]
