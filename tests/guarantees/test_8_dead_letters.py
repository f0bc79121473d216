"""Promise 8: what nobody can process ends in the dead letters with its reason, and stops nothing else."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from notebook import BINDING, bare, deliveries, exhaust, notebook
from structlog.testing import capture_logs
from support import connected

from paybell.backoff import LISTENER_RETRY_SECONDS
from paybell.messaging import Rejected
from paybell.messaging.broker import Confirm, Topology
from paybell.messaging.events import PaymentSucceeded
from paybell.messaging.failures import Chosen
from paybell.messaging.listener import Verdicts
from paybell.messaging.local import LocalBroker
from paybell.storage import Query
from paybell.testing import FrozenClock
from paybell.trade.errors import PayServiceUnavailable


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
