"""A bounded pool of sessions, which never has more at the server than it was given.

What is wrong with a server stands in the log, once in a while, in words for its operator.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import asyncpg
import structlog

from paybell.clock import Clock
from paybell.errors import DatabaseUnavailable, Misconfigured, Outage, OutcomeUnknown
from paybell.storage.driver_errors import (
    LOST,
    AllInUse,
    CommitsWait,
    cause_of,
    in_words,
    is_gone,
    is_refusal,
    refusal,
    unreachable,
)
from paybell.storage.queries import load_queries
from paybell.storage.session_limits import SERVING, Limits, session_settings
from paybell.storage.sessions import Session, open_session

log = structlog.get_logger()

# Strings: the driver's classes are generic for type checkers only.
_Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

# A ladder: each lets the one before it do its work. A process that vanished or hangs leaves its
# transaction to the server, which ends it after 4 s; whoever waits for its locks gets them in their 5 s;
# a statement of a full batch takes some 20 ms, and the server ends one after 6 s, so that one without an
# answer for 7 s has lost its server.
STATEMENT_TIMEOUT_SECONDS = 7.0
# How long a caller waits for a free connection before it is told to come back.
ACQUIRE_TIMEOUT_SECONDS = 5.0
# Each host of a URL answers within this, or is not there.
CONNECT_TIMEOUT_SECONDS = 5.0
# Nothing of ours is under way when we leave; a server that does not return the goodbye is left without.
CLOSE_TIMEOUT_SECONDS = 1.0
# A server without room for a session is asked for one this often; the callers wait for those there are.
_ROOM_SECONDS = 0.25
# The same cause is logged this often; requests that met it in between are counted by their answers.
_REPORT_SECONDS = 30.0
_OPEN_POLL_SECONDS = 0.2
_SQL = load_queries(__package__)


class SessionPool:
    """Sessions of one database. ``name`` is what its log lines call it."""

    def __init__(self, name: str, clock: Clock, connections: int, limits: Limits) -> None:
        """Use `SessionPool.open`."""
        self._name = name
        self._clock = clock
        self._connections = connections
        self._limits = limits
        self._pool: _Pool
        # Sessions whose COMMIT did not return: if it waits for a standby, the server keeps them.
        self._abandoned: set[int] = set()
        self._full: BaseException | None = None
        self._try_at = 0.0
        self._returned = asyncio.Event()
        self._reported: dict[type[BaseException], float] = {}

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, clock: Clock, *, name: str, connections: int, wait_seconds: float, limits: Limits
    ) -> AsyncIterator["SessionPool"]:
        """Connect, waiting for a server that is just starting; errors as of `Database.open`."""
        sessions = cls(name, clock, connections, limits)
        await sessions._connect_within(url, wait_seconds)
        try:
            yield sessions
        finally:
            try:
                await asyncio.wait_for(sessions._pool.close(), CLOSE_TIMEOUT_SECONDS)
            except TimeoutError:
                sessions._pool.terminate()

    async def acquire(self) -> Connection:
        """Return a session; where the server has room for no more, one that comes free.

        Raises:
            DatabaseUnavailable: none could be had in time. Its cause may also be what a start would refuse,
                such as a password that has changed: whoever comes with a request has no part in it.
        """
        try:
            return await self._acquire()
        except (*LOST, asyncpg.PostgresError, Misconfigured) as error:
            self._report(error)
            raise DatabaseUnavailable from error

    async def _acquire(self) -> Connection:
        try:
            async with asyncio.timeout(ACQUIRE_TIMEOUT_SECONDS):
                while True:
                    if self._full is None or self._pool.get_idle_size() or self._may_try():
                        with suppress(asyncpg.TooManyConnectionsError):
                            return await self._pool.acquire()
                    with suppress(TimeoutError):
                        self._returned.clear()
                        await asyncio.wait_for(self._returned.wait(), _ROOM_SECONDS)
        except TimeoutError:
            if self._full is not None:
                raise self._full from None
            if self._pool.get_size() == self._connections:
                raise AllInUse(str(self._connections)) from None
            raise

    async def release(self, connection: Connection) -> None:
        """Take a session back."""
        with suppress(*LOST):  # the pool has thrown it away, and opens another one when it needs to
            await self._pool.release(connection, timeout=STATEMENT_TIMEOUT_SECONDS)
        self._returned.set()

    def note(self, error: Outage, connection: Connection) -> None:
        """Log an outage's cause; end the session on which it showed if that must not be used again."""
        self._report(cause_of(error))
        if not is_gone(error):
            return
        with suppress(asyncpg.InterfaceError):  # the driver has noticed, and let go of it already
            if isinstance(error, OutcomeUnknown):
                self._abandoned.add(connection.get_server_pid())
            connection.terminate()
        self._distrust_idle()

    def _distrust_idle(self) -> None:
        """Give up what has probably gone the same way; each would cost a request its whole wait."""
        # The pool's own expire_connections() says goodbye on each, and complains that nobody answers.
        for holder in getattr(self._pool, "_holders", ()):
            if holder.is_idle():
                holder.terminate()

    def _report(self, cause: BaseException | None) -> None:
        now = self._clock.monotonic()
        if cause is None or now < self._reported.get(type(cause), now):
            return
        self._reported[type(cause)] = now + _REPORT_SECONDS
        log.warning("database_outage", database=self._name, reason=in_words(cause))

    # Room at the server

    def _may_try(self) -> bool:
        """Say whether the server may be asked for room again; of those who wait for it one does at a time."""
        now = self._clock.monotonic()
        if now < self._try_at:
            return False
        self._try_at = now + _ROOM_SECONDS
        return True

    async def _open_session(self, url: str, **options: Any) -> Session:
        try:
            session = await open_session(url, **options)
            try:
                await self._leave_room(session)
            except BaseException:
                session.terminate()
                raise
        except asyncpg.TooManyConnectionsError as error:
            self._full = error
            self._try_at = self._clock.monotonic() + _ROOM_SECONDS
            self._report(error)
            raise
        self._full = None
        return session

    async def _leave_room(self, session: Session) -> None:
        """Count what was abandoned and still waits as ours, or it would add up to the server's limit."""
        if not self._abandoned:
            return
        waiting = await session.fetch(_SQL["find_waiting_commits"], list(self._abandoned))
        self._abandoned = {row["pid"] for row in waiting}
        if waiting:
            full = CommitsWait(str(len(waiting)))
            self._report(full)
            if len(waiting) + self._pool.get_size() >= self._connections:
                raise full

    # The first session

    async def _connect_within(self, url: str, wait_seconds: float) -> None:
        deadline = self._clock.monotonic() + wait_seconds
        while True:
            try:
                await self._connect(url, min(CONNECT_TIMEOUT_SECONDS, wait_seconds))
            except Exception as error:
                if is_refusal(error):
                    raise Misconfigured(refusal(error)) from error
                if not isinstance(error, LOST):
                    raise
                if self._clock.monotonic() >= deadline:
                    raise DatabaseUnavailable(unreachable(error, wait_seconds)) from error
            else:
                return
            await self._clock.sleep(_OPEN_POLL_SECONDS)

    async def _connect(self, url: str, timeout_seconds: float) -> None:
        opener: Any = self._open_session  # the stubs want every option named
        self._pool = await asyncpg.create_pool(
            url,
            connect=opener,
            min_size=0,  # a pool that must keep some complains aloud of every outage
            max_size=self._connections,
            timeout=timeout_seconds,
            command_timeout=STATEMENT_TIMEOUT_SECONDS
            + self._limits.statement_seconds
            - SERVING.statement_seconds,
            reset=_as_it_is,
            server_settings=await session_settings(url, timeout_seconds, self._limits),
        )
        async with self._pool.acquire():
            return


async def _as_it_is(connection: Session) -> None:
    """Leave a session as it is: nothing of ours outlives its transaction, and a round trip is saved."""
    del connection
