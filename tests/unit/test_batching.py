"""Group commit: what waits together is done together, and everybody gets their own answer."""

import asyncio
from collections.abc import Sequence

import pytest

from paybell import batching
from paybell.batching import Batcher, bisect, is_no_outage
from paybell.errors import DatabaseUnavailable, OutcomeUnknown, Overloaded
from paybell.wallet.errors import WrongPayPassword


class Work:
    """Doubles numbers, one batch at a time, when told to go on; ``fails`` are what some numbers get."""

    def __init__(self) -> None:
        """Nothing done yet."""
        self.batches: list[list[int]] = []
        self.fails: dict[int, Exception] = {}
        self.go_on = asyncio.Semaphore(0)

    async def __call__(self, requests: Sequence[int]) -> Sequence[int | Exception]:
        """Do a batch."""
        self.batches.append(list(requests))
        await self.go_on.acquire()
        if -1 in requests:
            raise ValueError("all of it")
        return [self.fails.get(request, 2 * request) for request in requests]


async def started(batcher: Batcher[int, int], *requests: int) -> "list[asyncio.Task[int]]":
    """Submit requests and let the batcher begin."""
    tasks = [asyncio.create_task(batcher.submit(request)) for request in requests]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


class Time:
    """The event loop's clock, which can jump."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stand in for it, and let nothing wait less than seconds."""
        loop = asyncio.get_running_loop()
        self._time, self._ahead = loop.time, 0.0
        monkeypatch.setattr(loop, "time", lambda: self._time() + self._ahead)
        monkeypatch.setattr(batching, "GATHER_MOST_SECONDS", 1_000.0)

    def passes(self, seconds: float) -> None:
        """Jump."""
        self._ahead += seconds


async def test_where_requests_come_close_the_next_batch_waits_three_times_as_long_as_the_last_one_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    time, work = Time(monkeypatch), Work()
    batcher = Batcher(work, gathers=True)
    first = await started(batcher, 1)
    time.passes(100)
    work.go_on.release()
    assert await first[0] == 2

    others = [*await started(batcher, 2), *await started(batcher, 3)]
    assert work.batches == [[1]]
    time.passes(310)
    work.go_on.release()
    assert await asyncio.gather(*others) == [4, 6]
    assert work.batches == [[1], [2, 3]]


async def test_a_request_after_a_pause_waits_for_no_company(monkeypatch: pytest.MonkeyPatch) -> None:
    time, work = Time(monkeypatch), Work()
    batcher = Batcher(work, gathers=True)
    first = await started(batcher, 1)
    time.passes(100)
    work.go_on.release()
    assert await first[0] == 2

    time.passes(310)
    second = await started(batcher, 2)
    assert work.batches == [[1], [2]]
    work.go_on.release()
    assert await second[0] == 4


async def test_a_full_batch_waits_for_no_company(monkeypatch: pytest.MonkeyPatch) -> None:
    time, work = Time(monkeypatch), Work()
    batcher = Batcher(work, batch_max=2, gathers=True)
    first = await started(batcher, 1)
    time.passes(100)
    work.go_on.release()
    assert await first[0] == 2

    second = await started(batcher, 2, 3)
    assert work.batches == [[1], [2, 3]]
    work.go_on.release()
    assert await asyncio.gather(*second) == [4, 6]


async def test_what_comes_during_one_batch_shares_the_next() -> None:
    """A lone request starts at once; nobody waits for company."""
    work = Work()
    batcher = Batcher(work)
    first = await started(batcher, 1)
    assert work.batches == [[1]]
    others = await started(batcher, 2, 3, 4)
    assert work.batches == [[1]]
    work.go_on.release()
    assert await first[0] == 2
    work.go_on.release()

    assert await asyncio.gather(*others) == [4, 6, 8]
    assert work.batches == [[1], [2, 3, 4]]


async def test_a_batch_has_a_largest_size() -> None:
    work = Work()
    batcher = Batcher(work, batch_max=4)
    tasks = await started(batcher, *range(10))
    for _ in range(3):
        work.go_on.release()

    assert await asyncio.gather(*tasks) == [2 * request for request in range(10)]
    assert work.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_a_refusal_reaches_its_own_caller_only() -> None:
    work = Work()
    work.fails[2] = WrongPayPassword()
    batcher = Batcher(work)
    tasks = await started(batcher, 1, 2, 3)
    work.go_on.release()

    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert answers == [2, work.fails[2], 6]


async def test_an_error_of_the_whole_batch_reaches_everybody_in_it_and_nobody_after() -> None:
    work = Work()
    batcher = Batcher(work, batch_max=3)
    tasks = await started(batcher, 1, -1, 3, 4)
    work.go_on.release()
    work.go_on.release()

    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [ValueError] * 3 + [int]
    work.go_on.release()
    assert await batcher.submit(5) == 10


async def test_work_that_forgets_an_answer_leaves_nobody_waiting() -> None:
    async def forgetful(requests: Sequence[int]) -> Sequence[int]:
        return requests[1:]

    with pytest.raises(AssertionError):
        await Batcher(forgetful).submit(1)


async def test_a_caller_who_goes_away_takes_nobody_along() -> None:
    """Before their batch or during it; what was begun for them is done."""
    work = Work()
    batcher = Batcher(work)
    tasks = await started(batcher, 1)
    tasks += await started(batcher, 2, 3)
    tasks[0].cancel()
    tasks[1].cancel()
    work.go_on.release()
    work.go_on.release()

    answers = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    assert [type(answer) for answer in answers] == [asyncio.CancelledError, asyncio.CancelledError, int]
    assert work.batches == [[1], [2, 3]]


async def test_too_many_waiting_are_told_to_come_back() -> None:
    """At once, and it is over as soon as some are done."""
    work = Work()
    batcher = Batcher(work, batch_max=2, waiting_max=4)
    tasks = await started(batcher, 0, 1)
    tasks += await started(batcher, 2, 3, 4, 5)
    with pytest.raises(Overloaded):
        await asyncio.wait_for(batcher.submit(6), 5)
    work.go_on.release()
    assert await tasks[0] == 0
    tasks += await started(batcher, 7)
    for _ in range(3):
        work.go_on.release()

    assert (await asyncio.gather(*tasks))[-1] == 14


async def tried(requests: Sequence[int], bad: dict[int, Exception]) -> tuple[list[object], list[list[int]]]:
    """Bisect a batch in which some requests make any transaction they are in fail."""
    calls: list[list[int]] = []

    async def work(batch: Sequence[int]) -> Sequence[int]:
        calls.append(list(batch))
        for request in batch:
            if request in bad:
                raise bad[request]
        return [2 * request for request in batch]

    return list(await bisect(work, requests, is_no_outage)), calls


async def test_a_batch_that_works_is_done_once() -> None:
    assert await tried([1, 2, 3], {}) == ([2, 4, 6], [[1, 2, 3]])
    assert await tried([], {}) == ([], [[]])


@pytest.mark.parametrize("place", range(8))
async def test_the_bad_one_of_a_batch_fails_alone(place: int) -> None:
    """Found by halving: for 8 it takes 7 transactions, for 256 it takes 17."""
    error = ValueError("bad")
    outcomes, calls = await tried(range(8), {place: error})

    assert outcomes == [error if request == place else 2 * request for request in range(8)]
    assert len(calls) == 7


async def test_work_that_fails_on_nothing_ends() -> None:
    async def work(requests: Sequence[int]) -> Sequence[int]:
        raise ValueError(requests)

    assert await bisect(work, [], is_no_outage) == []


async def test_several_bad_ones_get_their_own_errors() -> None:
    errors: dict[int, Exception] = {0: ValueError("a"), 5: KeyError("b"), 6: RuntimeError("c")}
    outcomes, _ = await tried(range(7), errors)

    assert outcomes == [errors.get(request, 2 * request) for request in range(7)]


@pytest.mark.parametrize("error", [DatabaseUnavailable(), OutcomeUnknown()], ids=lambda error: error.code)
async def test_an_outage_is_everybodys_and_halves_are_not_tried(error: Exception) -> None:
    """They would fare no better, and after an unknown commit everybody has to ask again."""
    outcomes, calls = await tried(range(8), {3: error})

    assert outcomes == [error] * 8
    assert len(calls) == 1


async def test_what_an_outage_is_the_caller_says() -> None:
    """A relay suspects an event of other errors than a listener does."""
    refusal, calls = DatabaseUnavailable(), []

    async def work(batch: Sequence[int]) -> Sequence[int]:
        calls.append(list(batch))
        if 2 in batch:
            raise refusal
        return batch

    assert await bisect(work, [1, 2], lambda error: error is refusal) == [1, refusal]
    assert calls == [[1, 2], [1], [2]]
