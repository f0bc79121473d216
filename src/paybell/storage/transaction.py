"""One open transaction, and how it ends: committed for certain, rolled back, or in doubt."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

import asyncpg

from paybell.errors import Outage, OutcomeUnknown
from paybell.storage.driver_errors import LOST, is_gone, translated
from paybell.storage.pool import Connection
from paybell.storage.queries import Query

Record = asyncpg.Record
# PostgreSQL's class of warnings; of a COMMIT: the wait for a standby was ended by somebody.
_WARNING = "01000"


class Transaction:
    """One open transaction. ``now`` is the time all its rows carry."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        """Made by `Database.transaction` only."""
        self._connection = connection
        self.now = now
        self._after_commit: list[Callable[[], object]] = []

    async def fetch(self, query: Query, *arguments: object) -> list[Record]:
        """Run a query and return all rows."""
        with translated():
            return await self._connection.fetch(query, *arguments)

    async def fetch_one(self, query: Query, *arguments: object) -> Record | None:
        """Run a query and return its first row, if any."""
        with translated():
            return await self._connection.fetchrow(query, *arguments)

    async def execute(self, query: Query, *arguments: object) -> int:
        """Run a statement and return how many rows it touched."""
        with translated():
            tag = await self._connection.execute(query, *arguments)
        count = tag.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    def after_commit(self, callback: Callable[[], object]) -> None:
        """Call this once the transaction is committed, and never otherwise."""
        self._after_commit.append(callback)

    def committed(self) -> None:
        """Run what was asked for after the commit."""
        for callback in self._after_commit:
            callback()


async def commit(connection: Connection) -> None:
    """Commit.

    Raises:
        OutcomeUnknown: nobody knows whether it is committed, or will stay so.
    """
    with committing(connection):
        await connection.execute("COMMIT;")


@contextmanager
def committing(connection: Connection) -> Iterator[None]:
    """Run what commits by itself; errors as `commit`."""
    cut_short: list[asyncpg.PostgresLogMessage] = []

    def note(_: object, message: asyncpg.PostgresLogMessage) -> None:
        # Somebody has ended the wait for a standby: it is committed here, and may be lost with this server.
        if message.sqlstate == _WARNING:
            cut_short.append(message)

    connection.add_log_listener(note)
    try:
        with translated():
            yield
    except Outage as error:
        if is_gone(error):
            raise OutcomeUnknown from error.__cause__
        raise
    finally:
        with suppress(asyncpg.InterfaceError):  # it is gone, and its listeners with it
            connection.remove_log_listener(note)
    if cut_short:
        raise OutcomeUnknown from asyncpg.PostgresError(str(cut_short[0].message))


async def roll_back(connection: Connection) -> None:
    """Undo it, also where the connection has gone."""
    try:
        await connection.execute("ROLLBACK")
    except (*LOST, asyncpg.PostgresError):
        return  # the connection is gone, and the server rolls back by itself
