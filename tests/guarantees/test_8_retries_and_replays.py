"""Promise 8: what failed is tried again and replayed, applied once and in bounded batches."""

import asyncio
from collections.abc import Sequence

from notebook import deliveries, exhaust, notebook
from support import seeded, until

from paybell.backoff import LISTENER_RETRY_SECONDS
from paybell.messaging.events import PaymentSucceeded
from paybell.messaging.failure_rows import TAKEN_SECONDS
from paybell.messaging.failures import Chosen
from paybell.messaging.listener import Verdicts
from paybell.messaging.listener_runner import RETRY_BATCH_MAX
from paybell.storage import Query
from paybell.testing import FrozenClock


async def waits_at(barrier: asyncio.Barrier) -> bool:
    """Say whether somebody has come to a barrier."""
    return barrier.n_waiting > 0


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
