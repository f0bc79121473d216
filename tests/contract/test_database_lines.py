"""The line to PostgreSQL fails in ways a client does not hear of."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from time import monotonic

import pytest

from paybell.clock import SystemClock
from paybell.errors import DatabaseBusy, DatabaseUnavailable
from paybell.storage import Database, Query, pool

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 0.5
NOTHING = Query("SELECT 1")


class Line:
    """Carries connections to the server, until it is told to swallow everything on those there are."""

    def __init__(self, server_path: str) -> None:
        """Use `through_a_line`."""
        self._server_path = server_path
        self._carried: list[asyncio.Task[None]] = []
        self._swallowed = 0
        self.cuts_at = b"never"

    def go_silent(self) -> None:
        """Carry nothing any more on the connections there are; new ones work."""
        self._swallowed = len(self._carried)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        number = len(self._carried) + 1
        task = asyncio.current_task()
        assert task is not None
        self._carried.append(task)
        server_reader, server_writer = await asyncio.open_unix_connection(self._server_path)
        both = [self._carry(number, reader, server_writer), self._carry(number, server_reader, writer)]
        carriers = [asyncio.create_task(one) for one in both]
        try:
            await asyncio.wait(carriers, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for carrier in carriers:
                carrier.cancel()
            for end in (writer, server_writer):
                end.transport.abort()

    async def end(self) -> None:
        """Let go of every connection."""
        for task in self._carried:
            task.cancel()
        await asyncio.gather(*self._carried, return_exceptions=True)

    async def _carry(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                if self.cuts_at in data:
                    return
                if number > self._swallowed:
                    writer.write(data)


@asynccontextmanager
async def through_a_line(url: str) -> AsyncIterator[tuple[Database, Line]]:
    """Open a database over a line."""
    place, _, folder = url.partition("?host=")
    with tempfile.TemporaryDirectory(prefix="line-") as own:
        line = Line(f"{folder}/.s.PGSQL.5432")
        async with await asyncio.start_unix_server(line.serve, f"{own}/.s.PGSQL.5432"):
            async with Database.open(f"{place}?host={own}", SystemClock(), connections=4) as opened:
                yield opened, line
            await line.end()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "STATEMENT_TIMEOUT_SECONDS", PATIENCE_SECONDS)


async def together(opened: Database, times: int) -> None:
    """Use so many connections at the same time."""

    async def use() -> None:
        async with opened.transaction() as tx:
            ready.append(1)
            if len(ready) == times:
                all_ready.set()
            await all_ready.wait()
            await tx.fetch(NOTHING)

    ready: list[int] = []
    all_ready = asyncio.Event()
    await asyncio.gather(*(use() for _ in range(times)))


async def test_of_connections_that_all_fell_silent_one_is_found_out_and_none_asked_again(
    pay_url: str,
) -> None:
    """The first request pays with its patience; those after it get new connections."""
    async with through_a_line(pay_url) as (opened, line):
        await together(opened, 4)
        line.go_silent()
        with pytest.raises(DatabaseUnavailable):
            await opened.check()

        await together(opened, 4)


async def ask_in_silence(opened: Database, line: Line) -> None:
    async with opened.transaction() as tx:
        line.go_silent()
        await tx.fetch(NOTHING)


async def test_a_transaction_whose_line_fell_silent_ends_after_one_patience(pay_url: str) -> None:
    """Nobody is asked to roll back: the server does so by itself."""
    async with through_a_line(pay_url) as (opened, line):
        await opened.check()
        started = monotonic()
        with pytest.raises(DatabaseUnavailable):
            await ask_in_silence(opened, line)

        assert monotonic() - started < 2.5 * PATIENCE_SECONDS


async def test_a_line_that_is_cut_after_the_commit_spoils_nothing(pay_url: str) -> None:
    """What is committed is done, whatever becomes of the connection on its way back into the pool."""
    async with through_a_line(pay_url) as (opened, line):
        line.cuts_at = b"pg_advisory_unlock_all"
        async with opened.transaction() as tx:
            await tx.fetch(NOTHING)
        line.cuts_at = b"never"

        await opened.check()


async def ask_after_the_end(opened: Database) -> None:
    async with opened.transaction() as tx:
        with suppress(DatabaseUnavailable):
            await tx.fetch(Query("SELECT pg_terminate_backend(pg_backend_pid())"))
        await tx.fetch(NOTHING)


async def test_a_session_that_the_server_has_ended_is_an_outage(pay_url: str) -> None:
    """The driver then calls its own connection impossible."""
    async with through_a_line(pay_url) as (opened, _):
        with pytest.raises(DatabaseUnavailable):
            await ask_after_the_end(opened)

        await opened.check()


async def take_long(opened: Database) -> None:
    async with opened.transaction() as tx:
        await tx.execute(Query("SET LOCAL statement_timeout = '20ms'"))
        await tx.fetch(Query("SELECT pg_sleep(10)"))


async def wait_for(opened: Database, lock: Query) -> None:
    async with opened.transaction() as tx:
        await tx.execute(Query("SET LOCAL lock_timeout = '20ms'"))
        await tx.fetch(lock)


async def test_a_statement_that_ran_out_of_time_is_told_as_what_it_is(pay_url: str) -> None:
    """The database answers: nobody has to look for an outage."""
    lock = Query("SELECT pg_advisory_xact_lock(7)")
    async with Database.open(pay_url, SystemClock(), connections=2) as opened:
        with pytest.raises(DatabaseBusy, match="statement timeout; nothing was changed"):
            await take_long(opened)
        async with opened.transaction() as holder:
            await holder.fetch(lock)
            with pytest.raises(DatabaseBusy, match="lock timeout; nothing was changed"):
                await wait_for(opened, lock)
