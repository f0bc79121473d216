"""Working through outages of the database, without waiting for ever for one that the work causes itself.

From here the two look alike: a lock nobody gives back, a statement that takes too long or a server
process that dies of it end a transaction as an outage does. What tells them apart is whether the
database answers to somebody else.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import structlog

from paybell.backoff import exponential
from paybell.clock import Clock
from paybell.errors import Outage, PaybellError, Unavailable, with_traceback
from paybell.storage import Database, load_queries

log = structlog.get_logger()
_SQL = load_queries(__package__)
Result = TypeVar("Result")


class TransactionEnded(PaybellError):
    """An event that ends every transaction it is part of."""

    code = "transaction_ended"


class HandlerTooSlow(PaybellError):
    """A handler that does not return in the time it has."""

    code = "handler_too_slow"


class OutageRetry:
    """What a listener does while its database is away: it keeps what it has in hand, and tries again."""

    def __init__(self, database: Database, clock: Clock, listener: str) -> None:
        self._database = database
        self._clock = clock
        self._listener = listener

    async def through_outages(self, work: Callable[[], Awaitable[Result]], interruptions_max: int) -> Result:
        """Do a piece of work, again after each outage.

        A handler that ran out of time is one too: it may have waited for the database.

        Raises:
            TransactionEnded, HandlerTooSlow: it was interrupted so many times while the database answered.
        """
        interruptions, waits = 0, _waits()
        while True:
            try:
                return await work()
            except (Outage, HandlerTooSlow) as error:
                if interruptions == 0:
                    self._report(error)
                interruptions += await self._answers()
                if interruptions >= interruptions_max:
                    raise _culprit(error) from error
            await self._clock.sleep(next(waits))

    async def until_done(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Do a piece of work until it succeeds, whatever keeps it from that: nothing in hand is let go."""
        waits, waiting = _waits(), False
        while True:
            try:
                return await work()
            except Exception as error:  # noqa: BLE001 - a full disk, a role without rights: it is held all the same
                if not waiting or not isinstance(error, Unavailable):
                    self._report(error)
                waiting = True
            await self._clock.sleep(next(waits))

    def _report(self, error: Exception) -> None:
        code = error.code if isinstance(error, PaybellError) else "internal_error"
        trace = None if isinstance(error, PaybellError) else error
        cause = f"{error} ({error.__cause__!r})" if error.__cause__ else str(error)
        log.warning(
            "listener_waits", listener=self._listener, code=code, detail=cause, **with_traceback(trace)
        )

    async def _answers(self) -> bool:
        """Say whether the database can be read and written."""
        try:
            row = await self._database.fetch_one(_SQL["listener_database"])
        except Exception:  # noqa: BLE001 - however it refuses, nobody can work with it
            return False
        return row is not None and bool(row["writable"])


def _waits() -> Iterator[float]:
    return exponential(first=0.1, limit=2.0)


def _culprit(error: Exception) -> Exception:
    if isinstance(error, HandlerTooSlow):
        return error
    return TransactionEnded(f"its transaction ends each time: {error.__cause__ or error!r}")
