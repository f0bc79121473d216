"""One database: opens transactions and snapshots, and runs queries by themselves.

Whoever opens the transaction is the service; everything that takes a `Transaction` joins it
and never commits.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import islice
from typing import TypeVar

import asyncpg

from paybell.backoff import exponential
from paybell.clock import Clock
from paybell.errors import Busy, DatabaseUnavailable, Outage
from paybell.storage.driver_errors import in_words, is_gone, translated
from paybell.storage.pool import Connection, SessionPool
from paybell.storage.queries import Query, load_queries
from paybell.storage.session_limits import KNOWS_TRANSACTION_TIMEOUT, SERVING, Limits
from paybell.storage.transaction import Record, Transaction, commit, committing, roll_back

Done = TypeVar("Done")
# After the last refusal a full disk counts as full for so long; loops that write try it every second.
_DISK_FULL_SECONDS = 10.0
# A row that another process of ours holds is free after some milliseconds; all tries take two seconds.
_BUSY_FIRST_SECONDS, _BUSY_MOST_SECONDS, _BUSY_TRIES = 0.005, 0.25, 13
_SQL = load_queries(__package__)


class Database:
    """A bounded pool of connections to one PostgreSQL database."""

    def __init__(self, sessions: SessionPool, clock: Clock) -> None:
        """Use `Database.open`."""
        self._sessions = sessions
        self._clock = clock
        self._disk_full: tuple[float, str] = (0.0, "")

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        clock: Clock,
        *,
        connections: int = 8,
        wait_seconds: float = 10.0,
        limits: Limits = SERVING,
        name: str = "",
    ) -> AsyncIterator["Database"]:
        """Connect, waiting for a server that is just starting; ``name`` is for its log lines.

        Raises:
            DatabaseUnavailable: not within ``wait_seconds``.
            Misconfigured: the server answers and refuses us.
        """
        opened = SessionPool.open(
            url, clock, name=name, connections=connections, wait_seconds=wait_seconds, limits=limits
        )
        async with opened as sessions:
            yield cls(sessions, clock)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a transaction (READ COMMITTED); commit at the end, roll back on any error.

        Raises:
            DatabaseUnavailable: no connection, or it was lost before the commit: nothing changed.
            OutcomeUnknown: the connection was lost while committing.
        """
        async with self._connection() as connection:
            with translated():
                await connection.execute("BEGIN")
            tx = Transaction(connection, self._clock.now())
            try:
                yield tx
            except BaseException as error:
                if not is_gone(error):
                    await roll_back(connection)
                raise
            await commit(connection)
        tx.committed()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Transaction]:
        """Open a transaction in which everything is as it was at its first statement (REPEATABLE READ).

        It may write temporary tables of its own. It locks nothing that others write.

        Raises:
            DatabaseUnavailable: no connection, or it was lost.
        """
        async with self._connection() as connection:
            with translated():
                await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                if connection.get_server_version().major >= KNOWS_TRANSACTION_TIMEOUT:
                    await connection.execute("SET LOCAL transaction_timeout = 0")
            try:
                yield Transaction(connection, self._clock.now())
            finally:
                await roll_back(connection)

    @property
    def now(self) -> datetime:
        """The time of a statement that is run by itself, as its transaction would have it."""
        return self._clock.now()

    async def fetch(self, query: Query, *arguments: object) -> Sequence[Record]:
        """Run one query by itself and return all rows."""
        async with self._connection() as connection:
            with translated():
                return await connection.fetch(query, *arguments)

    async def fetch_one(self, query: Query, *arguments: object) -> Record | None:
        """Run one query by itself and return its first row, if any."""
        async with self._connection() as connection:
            with translated():
                return await connection.fetchrow(query, *arguments)

    async def write(self, query: Query, *arguments: object) -> Sequence[Record]:
        """Run one statement that is a transaction by itself; return its rows.

        Raises:
            DatabaseUnavailable: no connection. OutcomeUnknown: it was lost before the answer.
        """
        async with self._connection() as connection:
            with committing(connection):
                return await connection.fetch(query, *arguments)

    async def until_free(self, work: Callable[[], Awaitable[Done]]) -> Done:
        """Do something again while a row it needs is in other hands; no session of ours waits with it.

        Args:
            work: raises `Busy` where it meets such a row, having changed nothing.

        Raises:
            Busy: the row was not free for some two seconds; and what the work raises.
        """
        for pause in islice(exponential(first=_BUSY_FIRST_SECONDS, limit=_BUSY_MOST_SECONDS), _BUSY_TRIES):
            try:
                return await work()
            except Busy:
                await self._clock.sleep(pause)
        return await work()

    async def check(self) -> None:
        """Make sure that the server takes payments.

        Raises:
            DatabaseUnavailable: it does not; the sentence says why.
        """
        try:
            async with self._connection() as connection:
                with translated():
                    state = await connection.fetchrow(_SQL["read_state"])
                    assert state is not None
                    if state["standby"]:
                        raise asyncpg.ReadOnlySQLTransactionError
        except DatabaseUnavailable as error:
            cause = error.__cause__
            raise DatabaseUnavailable(in_words(cause) if cause else None) from cause
        if state["commits_wait"]:
            raise DatabaseUnavailable("Commits wait for a standby; see why it does not answer.")
        self.check_disk()

    def check_disk(self) -> None:
        """Make sure that none of our statements has found the server's disk full just now.

        Raises:
            DatabaseUnavailable: one has.
        """
        until, words = self._disk_full
        if self._clock.monotonic() < until:
            raise DatabaseUnavailable(words)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        connection = await self._sessions.acquire()
        try:
            yield connection
        except Outage as error:
            self._sessions.note(error, connection)
            if isinstance(error.__cause__, asyncpg.DiskFullError):
                self._disk_full = (self._clock.monotonic() + _DISK_FULL_SECONDS, in_words(error.__cause__))
            raise
        finally:
            # To its end, also when nobody waits for it any more: the driver's own task would complain.
            await asyncio.shield(self._sessions.release(connection))
