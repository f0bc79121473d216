"""Transactions and queries on one database.

Whoever opens the transaction is the service; everything that takes a `Transaction` joins it
and never commits.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from itertools import islice
from typing import TypeVar

import asyncpg

from paybell.backoff import exponential
from paybell.clock import Clock
from paybell.errors import Busy, DatabaseUnavailable, Outage, OutcomeUnknown
from paybell.storage.driver_errors import LOST, in_words, is_gone, translated
from paybell.storage.pool import Connection, SessionPool
from paybell.storage.queries import Query, load_queries
from paybell.storage.session_limits import KNOWS_TRANSACTION_TIMEOUT, SERVING, Limits

Record = asyncpg.Record
Done = TypeVar("Done")
# PostgreSQL's class of warnings; of a COMMIT: the wait for a standby was ended by somebody.
_WARNING = "01000"
# After the last refusal a full disk counts as full for so long; loops that write try it every second.
_DISK_FULL_SECONDS = 10.0
# A row that another process of ours holds is free after some milliseconds; all tries take two seconds.
_BUSY_FIRST_SECONDS, _BUSY_MOST_SECONDS, _BUSY_TRIES = 0.005, 0.25, 13
_SQL = load_queries(__package__)


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
                block = connection.transaction()
                await block.start()
            tx = Transaction(connection, self._clock.now())
            try:
                yield tx
            except BaseException as error:
                if not is_gone(error):
                    await _roll_back(block)
                raise
            await _commit(connection, block)
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
                block = connection.transaction(isolation="repeatable_read")
                await block.start()
                if connection.get_server_version().major >= KNOWS_TRANSACTION_TIMEOUT:
                    await connection.execute("SET LOCAL transaction_timeout = 0")
            try:
                yield Transaction(connection, self._clock.now())
            finally:
                await _roll_back(block)

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
            with _committing(connection):
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


async def _commit(connection: Connection, block: "asyncpg.transaction.Transaction") -> None:
    with _committing(connection):
        await block.commit()


@contextmanager
def _committing(connection: Connection) -> Iterator[None]:
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


async def _roll_back(block: "asyncpg.transaction.Transaction") -> None:
    try:
        await block.rollback()
    except (*LOST, asyncpg.PostgresError):
        return  # the connection is gone, and the server rolls back by itself
