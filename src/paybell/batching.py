"""Group commit: while one batch is being worked on, the next one gathers.

A lone request starts at once. A batcher that gathers lets the next batch begin when the last one is over for
three times as long as it took: where requests come close it holds several then, and costs each of them less.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

from paybell.errors import Outage, Overloaded

Request = TypeVar("Request")
Result = TypeVar("Result")

# So many times as long as the last batch took; a slow database makes nobody wait for longer than the most.
GATHER_TIMES, GATHER_MOST_SECONDS = 3, 0.01


class Batcher(Generic[Request, Result]):
    """Turns single calls into batches, and gives each caller its own result."""

    def __init__(
        self,
        work: Callable[[Sequence[Request]], Awaitable[Sequence[Result | Exception]]],
        *,
        batch_max: int = 256,
        waiting_max: int = 8_192,
        gathers: bool = False,
    ) -> None:
        """Take the function that does a batch.

        Args:
            work: gets 1 to ``batch_max`` requests and returns one result each, in order; an
                error among them is raised at that caller alone, an error raised at all.
            batch_max: beyond 256 a transaction gets longer but hardly cheaper per request.
            waiting_max: what may wait; at 10,000/s about one second of work. Past it callers
                are told to come back instead of waiting without an end.
            gathers: wait for company where there is some.
        """
        self._work = work
        self._batch_max = batch_max
        self._waiting_max = waiting_max
        self._gathers = gathers
        self._waiting: deque[tuple[Request, asyncio.Future[Result]]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._gather_until = 0.0

    async def submit(self, request: Request) -> Result:
        """Do one request in the company of others.

        Raises:
            Overloaded: more than ``waiting_max`` are waiting.
            PaybellError: what the work says of this request, or of its whole batch.
        """
        if len(self._waiting) >= self._waiting_max:
            raise Overloaded
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        if self._worker is None:
            # In a context of its own: what it logs is about all of them, not about the first one.
            self._worker = asyncio.create_task(self._drain(), context=Context())
        return await answer

    async def _drain(self) -> None:
        try:
            while self._waiting:
                if self._gathers and len(self._waiting) < self._batch_max:
                    await asyncio.sleep(self._gather_until - asyncio.get_running_loop().time())
                began = asyncio.get_running_loop().time()
                size = min(len(self._waiting), self._batch_max)
                await self._do([self._waiting.popleft() for _ in range(size)])
                ended = asyncio.get_running_loop().time()
                self._gather_until = ended + min(GATHER_TIMES * (ended - began), GATHER_MOST_SECONDS)
        finally:
            self._worker = None

    async def _do(self, batch: list[tuple[Request, asyncio.Future[Result]]]) -> None:
        outcomes: Sequence[Result | Exception]
        try:
            outcomes = await self._work([request for request, _ in batch])
            assert len(outcomes) == len(batch)
        except asyncio.CancelledError:
            for _, answer in batch:
                answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - every caller must be answered, whatever broke
            outcomes = [error] * len(batch)
        for (_, answer), outcome in zip(batch, outcomes, strict=True):
            if answer.done():  # its caller went away; what was done stays done
                continue
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)


async def bisect(
    work: Callable[[Sequence[Request]], Awaitable[Sequence[Result]]],
    requests: Sequence[Request],
    suspects: Callable[[Exception], bool],
) -> list[Result | Exception]:
    """Do a batch; if it fails, do its halves, so that one bad request fails alone.

    Args:
        work: does a batch or raises, having done nothing of it; returns one result each, in order.
        requests: the batch.
        suspects: says of an error whether one of the requests may have caused it. Any other one is an
            outage, and everybody's: halves would fare no better.

    Returns:
        One result or error for each request, in order.
    """
    try:
        return list(await work(requests))
    except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the request that causes it
        if len(requests) <= 1 or not suspects(error):  # of nothing there are no halves
            return [error] * len(requests)
    middle = len(requests) // 2
    return [
        *await bisect(work, requests[:middle], suspects),
        *await bisect(work, requests[middle:], suspects),
    ]


def is_no_outage(error: Exception) -> bool:
    """Suspect the requests of every error that is no `Outage` of a database."""
    return not isinstance(error, Outage)
