"""Promise 4: an event may arrive twice; its effect does not."""

import asyncio

import pytest
from faults import cutting_proxy
from notebook import BINDING, Notebook, bare, deliveries, notebook
from support import connected, seeded, until, waiting_for_locks

from paybell.clock import SystemClock
from paybell.messaging.broker import Confirm, Topology
from paybell.messaging.local import LocalBroker
from paybell.storage import Database
from paybell.testing import FrozenClock


async def test_an_event_delivered_again_is_applied_once(trade_url: str) -> None:
    """The inbox knows it, however much later it comes and under whatever message id."""
    async with notebook(trade_url, FrozenClock()) as book:
        await book.runner.apply(deliveries(5001))
        await book.runner.apply(deliveries(5002, 5001))
        await book.runner.apply(deliveries(5001))

        assert await book.written() == [5001, 5002]
        assert await book.kept() == []


async def test_an_event_twice_in_one_batch_is_applied_once(trade_url: str) -> None:
    async with notebook(trade_url, FrozenClock()) as book:
        await book.runner.apply(deliveries(5001, 5002, 5001, 5001))

        assert await book.written() == [5001, 5002]
        assert book.tried == [[5001, 5002]]


async def test_an_event_is_one_whatever_form_it_comes_in(trade_url: str) -> None:
    """A number, digits in quotes and a Java Long of one order are the same event."""
    java_long = bytes.fromhex(
        "aced00057372000e6a6176612e6c616e672e4c6f6e673b8be490cc8f23df0200014a000576616c7565"
        "787200106a6176612e6c616e672e4e756d62657286ac951d0b94e08b0200007870" + f"{5001:016x}"
    )
    async with notebook(trade_url, FrozenClock()) as book:
        await book.runner.apply(deliveries(b"5001", b'"5001"', b" 5001\n", java_long, b"05001"))

        assert await book.written() == [5001]


async def test_two_listeners_given_the_same_events_at_once_apply_each_once(trade_url: str) -> None:
    """Two processes with databases of their own meet at the inbox's primary key."""
    events = [deliveries(*range(start, start + 40)) for start in range(5001, 5401, 20)]
    async with (
        notebook(trade_url, SystemClock()) as one,
        notebook(trade_url, SystemClock()) as other,
    ):
        await asyncio.gather(
            *(book.runner.apply(batch) for batch in events for book in (one, other, other, one))
        )

        assert await one.written() == list(range(5001, 5421))
        assert await one.remembered() == list(range(5001, 5421))


async def test_two_consumers_of_one_queue_apply_each_event_once(trade_url: str) -> None:
    """Competing consumers, and a publisher that says everything twice."""
    broker, stop = LocalBroker(), asyncio.Event()
    numbers = range(5001, 5201)
    async with (
        notebook(trade_url, SystemClock(), broker, batch_max=7) as one,
        notebook(trade_url, SystemClock(), broker, batch_max=7) as other,
    ):
        await broker.declare(Topology([BINDING.exchange], [BINDING]))
        running = [asyncio.create_task(book.runner.run(stop)) for book in (one, other)]
        messages = [bare(number, attempt) for attempt in (1, 2) for number in numbers]
        confirms = await broker.publish(messages, 10)
        stop.set()
        await asyncio.gather(*running)

        assert confirms == [Confirm.CONFIRMED] * len(messages)
        assert await one.written() == list(numbers)


async def test_a_delivery_is_settled_when_its_effect_is_committed_and_not_before(trade_url: str) -> None:
    """While the transaction waits for a lock, the publisher waits for its confirm."""
    broker, stop = LocalBroker(), asyncio.Event()
    async with notebook(trade_url, SystemClock(), broker) as book, connected(trade_url) as holding:
        await broker.declare(Topology([BINDING.exchange], [BINDING]))
        running = asyncio.create_task(book.runner.run(stop))
        async with holding.transaction():
            await holding.execute("LOCK TABLE notebook IN EXCLUSIVE MODE")
            publishing = asyncio.create_task(broker.publish([bare(5001)], 10))
            await until(lambda: waiting_for_locks(holding, 1))
            assert not publishing.done()
        assert await publishing == [Confirm.CONFIRMED]
        assert await book.written() == [5001]
        stop.set()
        await running


async def test_a_crash_after_the_commit_and_before_the_settling_is_absorbed(trade_url: str) -> None:
    """The deliveries come again to the next process, and nothing happens twice."""
    broker = LocalBroker()
    async with notebook(trade_url, FrozenClock(), broker) as book:
        await broker.declare(Topology([BINDING.exchange], [BINDING]))
        publishing = asyncio.create_task(broker.publish([bare(5001), bare(5002)], 10))

        async with broker.consume(BINDING.queue.name, 10) as crashing:
            first = await crashing.receive(10)
            await book.runner.apply(first)  # committed, and the process dies before it settles
        assert await book.written() == [5001, 5002]
        assert not publishing.done()

        async with broker.consume(BINDING.queue.name, 10) as consumer:
            again = await asyncio.wait_for(consumer.receive(10), 10)
            await book.runner.apply(again)
            await consumer.acknowledge(again)

        assert [one.body for one in again] == [one.body for one in first]
        assert await book.written() == [5001, 5002]
        assert await publishing == [Confirm.CONFIRMED] * 2


async def test_a_crash_before_the_commit_leaves_neither_effect_nor_memory(trade_url: str) -> None:
    """What the inbox knows was done: a connection that dies between the two takes both with it."""
    seen: list[tuple[list[int], list[int]]] = []

    class Watching(FrozenClock):
        """Looks at the tables while the runner waits for the database to come back."""

        async def sleep(self, seconds: float) -> None:
            seen.append((await book.written(), await book.remembered()))
            self.advance(seconds)

    async with notebook(trade_url, Watching()) as book:
        book.dies = [5001]
        await book.runner.apply(deliveries(5000, 5001, 5002))

        assert seen == [([], [])]
        assert await book.written() == await book.remembered() == [5000, 5001, 5002]


async def test_a_listener_that_fails_leaves_no_memory_of_the_event(trade_url: str) -> None:
    """Neither does one that rejects it: else a replay would be taken for a double and dropped."""
    async with notebook(trade_url, FrozenClock()) as book:
        book.fails = {5001: RuntimeError("no")}
        book.rejects = {5002: "not_wanted"}
        await book.runner.apply(deliveries(5000, 5001, 5002))

        assert await book.written() == await book.remembered() == [5000]


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_commit_that_is_cut_off_applies_the_events_once(trade_url: str, cut: str) -> None:
    """Unknown means try again: either nothing was done, or the inbox knows it."""
    async with notebook(trade_url, FrozenClock()) as truth, cutting_proxy(trade_url) as proxy:
        clock = FrozenClock()
        async with Database.open(proxy.url, clock, connections=2) as database:
            book = Notebook(database, clock, LocalBroker())
            proxy.cut = "before" if cut == "before" else "after"
            await book.runner.apply(deliveries(5001, 5002))

        assert proxy.cuts == 1
        assert book.tried == [[5001, 5002]] * (2 if cut == "before" else 1)
        assert await truth.written() == [5001, 5002]


async def test_after_any_history_of_faults_the_inbox_knows_exactly_what_was_done(trade_url: str) -> None:
    """Random doubles, failures, rejections and dying connections: memory and effect never differ."""
    rng, clock = seeded(), FrozenClock()
    async with notebook(trade_url, clock) as one, notebook(trade_url, clock) as other:
        for book in (one, other):
            book.dies = rng.choices(range(100), k=10)
        failing = set(rng.sample(range(1, 100), 12))
        for number in failing:
            one.fails[number] = other.fails[number] = RuntimeError("no")
        rejected = set(rng.sample(sorted(set(range(1, 100)) - failing), 12))
        for number in rejected:
            one.rejects[number] = other.rejects[number] = "not_wanted"
        await asyncio.gather(
            *(
                rng.choice([one, other]).runner.apply(deliveries(*rng.choices(range(1, 100), k=15)))
                for _ in range(30)
            )
        )
        await one.runner.apply(deliveries(*range(1, 100)))

        done = [number for number in range(1, 100) if number not in failing | rejected]
        assert await one.written() == await one.remembered() == done
        kept = {int(row["event_id"].removeprefix("pay.success:")): row["state"] for row in await one.kept()}
        assert kept == dict.fromkeys(failing, "retry") | dict.fromkeys(rejected, "dead")
