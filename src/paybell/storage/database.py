"""Connections and transactions; the only place that knows what the driver raises.

Whoever opens the transaction is the service; everything that takes a `Transaction` joins it
and never commits.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import asyncpg

from paybell.clock import Clock
from paybell.errors import (
    DatabaseBusy,
    DatabaseUnavailable,
    Misconfigured,
    Outage,
    OutcomeUnknown,
    PaybellError,
)
from paybell.storage.queries import Query

Record = asyncpg.Record
# Strings: the driver's classes are generic for type checkers only.
_Pool: TypeAlias = "asyncpg.Pool[Record]"
_Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[Record]"

# A ladder: each lets the one before it do its work. A process that vanished or hangs leaves its
# transaction to the server, which ends it after 4 s; whoever waits for its locks gets them in their 5 s;
# a statement of a full batch takes some 20 ms, and the server ends one after 6 s, so that one without an
# answer for 7 s has lost its server.
STATEMENT_TIMEOUT_SECONDS = 7.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the server lets a session's statement run, and its transaction wait for the next one."""

    statement_seconds: int
    idle_seconds: int


SERVING = Limits(statement_seconds=6, idle_seconds=4)
# A command that reads everything, in pieces of a second on a good day; nobody waits for what it holds.
READING = Limits(statement_seconds=600, idle_seconds=60)
_SERVER_SETTINGS = {
    "application_name": "paybell",
    "lock_timeout": "5s",
    "jit": "off",
    # A machine that vanished does not close its connections; over TCP the server asks after 4 s.
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
# The others do not run while the server waits for the rest of what a client has begun to say; this one does.
_TRANSACTION_TIMEOUT = {"transaction_timeout": "8s"}
_KNOWS_TRANSACTION_TIMEOUT = 17
# How long a caller waits for a free connection before it is told to come back.
ACQUIRE_TIMEOUT_SECONDS = 5.0
# Nothing of ours is under way when we leave; a server that does not return the goodbye is left without.
CLOSE_TIMEOUT_SECONDS = 1.0
# After these nobody is at the other end, or nobody knows.
_GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what the driver says of a connection whose server has said its last word
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    OSError,
    TimeoutError,
)
# After these the server has ended a statement of ours, and goes on.
_BUSY = (
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)
_LOST = (
    *_GONE,
    *_BUSY,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,
)
_MISCONFIGURED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.UndefinedTableError,
    asyncpg.ClientConfigurationError,
)


class ConstraintViolated(PaybellError):
    """A rule of the schema refused the change; ``name`` is the constraint's."""

    def __init__(self, name: str) -> None:
        """Keep the constraint's name; the context's own store knows what it means."""
        super().__init__(f"constraint {name} violated")
        self.name = name


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        raise ConstraintViolated(error.constraint_name or "") from error
    except _MISCONFIGURED as error:
        raise Misconfigured(
            f"The database refuses: {error}. Check its URL and run paybell migrate."
        ) from error
    except ValueError:  # an argument the driver cannot encode is a bug, not an outage
        raise
    except _BUSY as error:
        raise DatabaseBusy(f"The database ended a statement: {error}; nothing was changed.") from error
    except _LOST as error:
        raise DatabaseUnavailable from error


class Transaction:
    """One open transaction. ``now`` is the time all its rows carry."""

    def __init__(self, connection: _Connection, now: datetime) -> None:
        """Made by `Database.transaction` only."""
        self._connection = connection
        self.now = now
        self._after_commit: list[Callable[[], object]] = []

    async def fetch(self, query: Query, *arguments: object) -> list[Record]:
        """Run a query and return all rows."""
        with _translated():
            return await self._connection.fetch(query, *arguments)

    async def fetch_one(self, query: Query, *arguments: object) -> Record | None:
        """Run a query and return its first row, if any."""
        with _translated():
            return await self._connection.fetchrow(query, *arguments)

    async def execute(self, query: Query, *arguments: object) -> int:
        """Run a statement and return how many rows it touched."""
        with _translated():
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

    def __init__(self, pool: _Pool, clock: Clock) -> None:
        """Use `Database.open`."""
        self._pool = pool
        self._clock = clock

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
    ) -> AsyncIterator["Database"]:
        """Connect, waiting for a server that is just starting.

        Raises:
            DatabaseUnavailable: not within ``wait_seconds``.
            Misconfigured: the server answers and refuses us.
        """
        pool = await _connect(url, clock, connections, wait_seconds, limits)
        try:
            yield cls(pool, clock)
        finally:
            try:
                await asyncio.wait_for(pool.close(), CLOSE_TIMEOUT_SECONDS)
            except TimeoutError:
                pool.terminate()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a transaction (READ COMMITTED); commit at the end, roll back on any error.

        Raises:
            DatabaseUnavailable: no connection, or it was lost before the commit: nothing changed.
            OutcomeUnknown: the connection was lost while committing.
        """
        async with self._connection() as connection:
            with _translated():
                block = connection.transaction()
                await block.start()
            tx = Transaction(connection, self._clock.now())
            try:
                yield tx
            except BaseException as error:
                if not _says_gone(error):
                    await _roll_back(block)
                raise
            await _commit(block)
        tx.committed()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Transaction]:
        """Open a transaction in which everything is as it was at its first statement (REPEATABLE READ).

        It may write temporary tables of its own. It locks nothing that others write.

        Raises:
            DatabaseUnavailable: no connection, or it was lost.
        """
        async with self._connection() as connection:
            with _translated():
                block = connection.transaction(isolation="repeatable_read")
                await block.start()
                if connection.get_server_version().major >= _KNOWS_TRANSACTION_TIMEOUT:
                    await connection.execute("SET LOCAL transaction_timeout = 0")
            try:
                yield Transaction(connection, self._clock.now())
            finally:
                await _roll_back(block)

    async def fetch(self, query: Query, *arguments: object) -> Sequence[Record]:
        """Run one query by itself and return all rows."""
        async with self._connection() as connection:
            with _translated():
                return await connection.fetch(query, *arguments)

    async def fetch_one(self, query: Query, *arguments: object) -> Record | None:
        """Run one query by itself and return its first row, if any."""
        async with self._connection() as connection:
            with _translated():
                return await connection.fetchrow(query, *arguments)

    async def check(self) -> None:
        """Make sure that the server answers.

        Raises:
            DatabaseUnavailable: it does not.
        """
        await self.fetch_one(Query("SELECT 1"))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[_Connection]:
        with _translated():
            connection = await self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS)
        try:
            yield connection
        except Outage as error:
            if _says_gone(error):
                with suppress(asyncpg.InterfaceError):  # the driver has noticed, and let go of it already
                    connection.terminate()
                self._distrust_idle()
            raise
        finally:
            # To its end, also when nobody waits for it any more: the driver's own task would complain.
            await asyncio.shield(self._give_back(connection))

    async def _give_back(self, connection: _Connection) -> None:
        with suppress(*_LOST):  # the pool has thrown it away, and opens another one when it needs to
            await self._pool.release(connection, timeout=STATEMENT_TIMEOUT_SECONDS)

    def _distrust_idle(self) -> None:
        """Give up what has probably gone the same way; each would cost a request its patience."""
        # The pool's own expire_connections() says goodbye on each, and complains that nobody answers.
        for holder in getattr(self._pool, "_holders", ()):
            if holder.is_idle():
                holder.terminate()


def _says_gone(error: BaseException) -> bool:
    return isinstance(error, Outage) and isinstance(error.__cause__, _GONE)


async def _commit(block: "asyncpg.transaction.Transaction") -> None:
    try:
        await block.commit()
    except asyncpg.IntegrityConstraintViolationError as error:
        raise ConstraintViolated(error.constraint_name or "") from error
    except _LOST as error:
        raise OutcomeUnknown from error


async def _roll_back(block: "asyncpg.transaction.Transaction") -> None:
    try:
        await block.rollback()
    except (*_LOST, asyncpg.PostgresError):
        return  # the connection is gone, and the server rolls back by itself


def refusal(error: Exception) -> str:
    """Return the sentence for a server or driver that does not want our URL; never a part of it."""
    if isinstance(error, ValueError) and not isinstance(error, asyncpg.InterfaceError):
        return "Its URL cannot be read; a password with / @ : ? # % in it must be percent-encoded."
    return f"The database refuses: {error}. Check its URL."


async def _session_settings(url: str, timeout_seconds: float, limits: Limits) -> dict[str, str]:
    """Return the settings of every session; a server refuses those it is too old for."""
    connection = await asyncpg.connect(url, timeout=timeout_seconds)
    try:
        major = connection.get_server_version().major
    finally:
        await connection.close()
    bounds = {
        "statement_timeout": f"{limits.statement_seconds}s",
        "idle_in_transaction_session_timeout": f"{limits.idle_seconds}s",
    }
    settings = _SERVER_SETTINGS | bounds
    return settings | (_TRANSACTION_TIMEOUT if major >= _KNOWS_TRANSACTION_TIMEOUT else {})


async def _as_it_is(connection: "asyncpg.Connection[Record]") -> None:
    """Leave a session as it is: nothing of ours outlives its transaction, and a round trip is saved."""
    del connection


async def _connect(url: str, clock: Clock, connections: int, wait_seconds: float, limits: Limits) -> _Pool:
    deadline = clock.monotonic() + wait_seconds
    while True:
        try:
            pool = await asyncpg.create_pool(
                url,
                min_size=0,  # a pool that must keep some complains aloud of every outage
                max_size=connections,
                timeout=min(5.0, wait_seconds),
                command_timeout=STATEMENT_TIMEOUT_SECONDS
                + limits.statement_seconds
                - SERVING.statement_seconds,
                reset=_as_it_is,
                server_settings=await _session_settings(url, min(5.0, wait_seconds), limits),
            )
            async with pool.acquire():
                return pool
        except (*_MISCONFIGURED, ValueError) as error:
            raise Misconfigured(refusal(error)) from error
        except _LOST as error:
            if clock.monotonic() >= deadline:
                raise DatabaseUnavailable(
                    f"The database did not answer within {wait_seconds:g} s; check its URL and that it runs."
                ) from error
            await clock.sleep(0.2)
