"""Doing a batch through outages of the database, without waiting for ever for one it causes itself.

From here the two look alike: a lock nobody gives back, a statement that takes too long or a server
process that dies of it end a transaction as an outage does. What tells them apart is whether the
database answers to somebody else, again and again.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from paybell.backoff import exponential
from paybell.batching import bisect, is_no_outage
from paybell.clock import Clock
from paybell.errors import Outage, PaybellError
from paybell.storage import Database

Request = TypeVar("Request")
Result = TypeVar("Result")

# A batch may meet so many outages while the database answers (a failover, somebody's lock) before one of
# its requests is suspected and searched for.
STRIKES_MAX = 3


class TransactionEnded(PaybellError):
    """A request that ends every transaction it is part of."""

    code = "transaction_ended"


async def outlast(
    database: Database,
    clock: Clock,
    work: Callable[[Sequence[Request]], Awaitable[Sequence[Result]]],
    requests: Sequence[Request],
) -> list[Result | Exception]:
    """Do all requests, whatever it takes, and return one result or error for each.

    A request that ends its transaction each time is found by halving, and comes back as a
    `TransactionEnded`; no other `Outage` is among the results.
    """
    outcomes: list[Result | Exception] = []
    strikes = suspected_end = 0
    waits = exponential(first=0.1, most=2.0)
    while (begin := len(outcomes)) < len(requests):
        suspected = suspected_end > begin
        end = (begin + suspected_end + 1) // 2 if suspected else len(requests)
        done, outage = _until_outage(await bisect(work, requests[begin:end], is_no_outage))
        outcomes += done
        if outage is None:
            strikes = strikes if len(outcomes) < suspected_end else 0
            continue
        strikes += await _answers(database)
        if strikes >= STRIKES_MAX:
            suspected_end = end
            if end - len(outcomes) == 1:
                outcomes.append(TransactionEnded(f"its transaction ends each time: {_cause(outage)}"))
                strikes = 0
        await clock.sleep(next(waits))
    return outcomes


def _until_outage(
    outcomes: Sequence[Result | Exception],
) -> tuple[Sequence[Result | Exception], Outage | None]:
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, Outage):
            return outcomes[:index], outcome
    return outcomes, None


def _cause(outage: Outage) -> str:
    return repr(outage.__cause__ or outage)


async def _answers(database: Database) -> bool:
    try:
        await database.check()
    except Outage:
        return False
    return True
