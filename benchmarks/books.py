"""The books after a run. A run that lost or doubled anything does not count."""

from benchmarks.servers import connected
from benchmarks.stock import AMOUNT
from paybell.clock import SystemClock
from paybell.storage import Database
from paybell.storage.queries import load_queries
from paybell.verification.ledger_check import trial_balance

_SQL = load_queries("benchmarks", "books.sql")


class BooksWrong(Exception):
    """A contender lost or doubled something; its run does not count."""


def agree(contender: str, **pairs: tuple[object, object]) -> None:
    """Insist that each pair of what was found and what must be is equal.

    Raises:
        BooksWrong: which is not.
    """
    wrong = [
        f"{name} {found}, expected {expected}"
        for name, (found, expected) in pairs.items()
        if found != expected
    ]
    if wrong:
        raise BooksWrong(f"{contender}: {'; '.join(wrong)}")


async def check_pay(url: str, contender: str, *, paid: int, untold: int) -> None:
    """Check that exactly ``paid`` orders are paid, each once, and ``untold`` events wait.

    Raises:
        BooksWrong: something was lost or doubled.
    """
    async with connected(url) as connection:
        books = await connection.fetchrow(_SQL["pay_books"])
    assert books is not None
    async with Database.open(url, SystemClock(), connections=2) as database:
        balanced = await trial_balance(database)
    agree(
        contender,
        paid=(books["paid"], paid),
        transfers=(books["transfers"], paid),
        matching=(books["matching"], paid),
        moved=(books["moved"], paid * AMOUNT),
        debited=(books["debited"], paid * AMOUNT),
        untold=(books["untold"], untold),
        untold_events=(books["untold_events"], untold),
        balanced=(balanced, True),
    )


async def check_trade(url: str, contender: str, *, paid: int) -> None:
    """Check that the order service has marked exactly ``paid`` orders, each heard of once.

    Raises:
        BooksWrong: something was lost or doubled.
    """
    async with connected(url) as connection:
        books = await connection.fetchrow(_SQL["trade_books"])
    assert books is not None
    agree(
        contender,
        marked=(books["paid"], paid),
        applied=(books["applied"], paid),
        failed=(books["failed"], 0),
        unheard=(books["unheard"], 0),
    )
