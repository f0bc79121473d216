"""A primary with a standby, on real servers: silence, a switch of roles, and commits that wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import pytest
import structlog
from standby import Server, two_servers
from support import Databases, connected, until

from paybell.clock import SystemClock
from paybell.errors import DatabaseUnavailable, OutcomeUnknown
from paybell.storage import Database, Query, pool

WRITE = Query("INSERT INTO written (n) VALUES ($1)")
WRITTEN = Query("SELECT n FROM written ORDER BY n")
PATIENCE_SECONDS = 0.5
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "STATEMENT_TIMEOUT_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(pool, "ACQUIRE_TIMEOUT_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
async def pair(postgres: Databases) -> AsyncIterator[tuple[Server, Server]]:
    """Two servers with one table."""
    del postgres  # it has made the user that servers run as
    async with two_servers() as (a, b):
        async with connected(a.url) as rows:
            await rows.execute("CREATE TABLE written (n int)")
        yield a, b


async def write(database: Database, number: int) -> None:
    async with database.transaction() as tx:
        await tx.execute(WRITE, number)


async def attempt(database: Database, number: int) -> str:
    """Write; return the code of what it came to."""
    try:
        await write(database, number)
    except (DatabaseUnavailable, OutcomeUnknown) as error:
        return error.code
    return "written"


@asynccontextmanager
async def silent_host() -> AsyncIterator[str]:
    """A host that takes connections and says nothing."""
    waiting: list[asyncio.StreamWriter] = []

    async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting.append(writer)

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in waiting:
            writer.close()


async def test_the_first_host_with_a_session_that_writes_wins_and_a_silent_one_costs_nothing(
    pair: tuple[Server, Server],
) -> None:
    """All are asked at once; a standby does not count, however fast it is."""
    a, b = pair
    async with silent_host() as silent:
        started = monotonic()
        url = f"postgresql://postgres@{silent},{b.place},{a.place}/postgres"
        async with Database.open(url, SystemClock(), connections=2) as database:
            await write(database, 1)
            assert monotonic() - started < pool.CONNECT_TIMEOUT_SECONDS / 2
            await database.check()

    with pytest.raises(
        DatabaseUnavailable, match="is a standby or read-only; its URL must lead to the primary"
    ):
        async with Database.open(b.url, SystemClock(), wait_seconds=0.3):
            pass


async def test_after_a_promotion_the_same_url_leads_to_the_new_primary(pair: tuple[Server, Server]) -> None:
    a, b = pair
    url = f"postgresql://postgres@{a.place},{b.place}/postgres"
    async with Database.open(url, SystemClock(), connections=2) as database:
        await write(database, 1)
        a.kill()
        async with connected(b.url) as rows:
            await rows.execute("SELECT pg_promote()")

        async def writes() -> bool:
            return await attempt(database, 2) == "written"

        await until(writes)
        assert [row["n"] for row in await database.fetch(WRITTEN)] == [1, 2]


async def test_a_server_that_turns_read_only_keeps_no_session_of_ours(pair: tuple[Server, Server]) -> None:
    """Its sockets stay open, so nothing but its refusal tells."""
    a, _ = pair
    async with Database.open(a.url, SystemClock(), connections=3) as database, connected(a.url) as rows:
        await asyncio.gather(*(write(database, number) for number in range(3)))
        await rows.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await rows.execute("SELECT pg_reload_conf()")

        async def refused() -> bool:
            return await attempt(database, 9) == "database_unavailable"

        await until(refused)
        with pytest.raises(DatabaseUnavailable, match="is a standby or read-only"):
            await database.check()
        assert database._sessions._pool.get_size() == 0

        await rows.execute("SET default_transaction_read_only = off")
        await rows.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await rows.execute("SELECT pg_reload_conf()")

        async def writes() -> bool:
            return await attempt(database, 10) == "written"

        await until(writes)


async def test_commits_that_wait_for_a_standby_leave_no_more_sessions_than_the_pool_has(
    pair: tuple[Server, Server],
) -> None:
    """Each is in doubt, the health check says why, and none is counted as done before the standby answers."""
    a, b = pair
    async with Database.open(a.url, SystemClock(), connections=4) as database, connected(a.url) as rows:
        await write(database, 0)
        b.freeze()
        outcomes: list[str] = []
        with structlog.testing.capture_logs() as logs:
            for turn in range(4):
                outcomes += await asyncio.gather(*(attempt(database, 10 * turn + n) for n in range(1, 5)))
        assert outcomes[:4] == ["outcome_unknown"] * 4
        assert set(outcomes[4:]) <= {"outcome_unknown", "database_unavailable"}
        assert await rows.fetchval(WAITING) <= 4
        assert any("commits wait for a standby" in line.get("reason", "") for line in logs)
        assert [row["n"] for row in await rows.fetch(WRITTEN)] == [0]

        b.thaw()

        async def writes() -> bool:
            return await attempt(database, 99) == "written"

        await until(writes)
        found = {row["n"] for row in await rows.fetch(WRITTEN)}
        assert {0, 99} <= found <= {0, 99, *range(1, 35)}  # what was in doubt is there or is not


async def test_the_health_check_says_that_commits_wait_for_a_standby(pair: tuple[Server, Server]) -> None:
    a, b = pair
    async with Database.open(a.url, SystemClock(), connections=4) as database:
        b.freeze()
        assert await attempt(database, 1) == "outcome_unknown"

        async def told() -> bool:
            try:
                await database.check()
            except DatabaseUnavailable as error:
                return str(error) == "Commits wait for a standby; see why it does not answer."
            return False

        await until(told)
        b.thaw()


async def test_a_commit_whose_wait_for_a_standby_somebody_cancelled_is_in_doubt(
    pair: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server calls it a success with a warning: it is here, and nowhere else."""
    monkeypatch.setattr(pool, "STATEMENT_TIMEOUT_SECONDS", 30.0)
    a, b = pair
    async with Database.open(a.url, SystemClock(), connections=2) as database, connected(a.url) as rows:
        await write(database, 0)
        b.freeze()
        committing = asyncio.create_task(attempt(database, 1))

        async def waits() -> bool:
            return bool(await rows.fetchval(WAITING))

        await until(waits)
        await rows.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")

        assert await committing == "outcome_unknown"
        assert [row["n"] for row in await rows.fetch(WRITTEN)] == [0, 1]
        b.thaw()
