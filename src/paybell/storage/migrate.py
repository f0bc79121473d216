"""Bring a database to the schema this version needs: numbered SQL scripts, each applied once.

Why no library, and the rules for scripts: `docs/decisions/migrations.md`.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import asyncpg

from paybell.clock import SystemClock
from paybell.errors import DatabaseUnavailable, Misconfigured
from paybell.storage.driver_errors import LOST, POOLED, is_refusal, refusal, unreachable
from paybell.storage.queries import load_queries
from paybell.storage.schema import Schema, Script
from paybell.storage.sessions import Session, open_session

_SQL = load_queries(__package__, "migrations.sql")
_LOCK_POLL_SECONDS = 0.1
_LOCK_MOST_SECONDS = 60.0
_CONNECT_TIMEOUT_SECONDS = 10.0
# Whoever pays queues behind a migration that waits for a table; it gives up before payments do.
_TABLE_LOCK_SECONDS = 3
_SERVER_SETTINGS = {
    "application_name": "paybell migrate",
    "default_transaction_isolation": "read committed",
    "lock_timeout": f"{_TABLE_LOCK_SECONDS}s",
    "statement_timeout": "1h",
}


@dataclass(frozen=True, slots=True)
class Revision:
    """The version a schema has (None: it is not there), and the one this release needs.

    ``floor`` is the oldest version whose release can use the schema as it is.
    """

    current: str | None
    needed: str
    floor: str

    @property
    def usable(self) -> bool:
        """Say whether this release can work with it: its own version, or a newer one that lets it."""
        return self.current is not None and self.floor <= self.needed <= self.current


async def migrate(url: str, schema: Schema) -> tuple[str | None, str]:
    """Apply what is missing, each script whole or not at all; return the version before and after.

    Raises:
        DatabaseUnavailable: the server does not answer, or a lock is not free; going on is safe.
        Misconfigured: it refuses us, or a script that was applied has changed since.
    """
    async with migration_session(url) as connection:
        with _explained(schema, "its versions"):
            await _wait_for_turn(connection)
            await connection.execute(_SQL["create_versions"])
            rows = await connection.fetch(_SQL["read_applied"], schema.name)
        applied: dict[str, str | None] = {row["version"]: row["checksum"] for row in rows}
        before = max(applied, default=None)
        for script in schema.scripts():
            with _explained(schema, f"script {script.version}"):
                if before is None or script.version > before:
                    await _apply(connection, schema, script)
                else:
                    await _compare(connection, schema, script, applied)
        return before, max(before or "", schema.scripts()[-1].version)


async def revision(url: str, schema: Schema) -> Revision:
    """Return where a schema stands; errors as in `migrate`."""
    needed = schema.scripts()[-1].version
    async with migration_session(url) as connection:
        try:
            row = await connection.fetchrow(_SQL["read_revision"], schema.name)
        except asyncpg.UndefinedTableError:
            return Revision(None, needed, needed)
    assert row is not None
    return Revision(row["current"], needed, row["floor"] or row["current"] or needed)


async def _apply(connection: Session, schema: Schema, script: Script) -> None:
    values = (schema.name, script.version, script.floor, script.checksum)
    if script.statements is not None:
        for statement in script.statements:
            await connection.execute(statement)
        await connection.execute(_SQL["note_applied"], *values)
        return
    async with connection.transaction():
        await connection.execute(script.text)
        await connection.execute(_SQL["note_applied"], *values)


async def _compare(
    connection: Session, schema: Schema, script: Script, applied: Mapping[str, str | None]
) -> None:
    """Make sure that a script is what was applied; one of a release that kept no sums is believed now."""
    known = applied.get(script.version)
    if known is None:
        await connection.execute(_SQL["note_checksum"], schema.name, script.version, script.checksum)
    elif known != script.checksum:
        raise Misconfigured(
            f"Script {script.version} of schema {schema.name} is not the one that was applied to this "
            "database: a released script is never edited. Install the release anew; nothing was changed."
        )


async def _wait_for_turn(connection: Session) -> None:
    """Wait without a transaction: one that is open would hold up an index that is built concurrently."""
    clock = SystemClock()
    deadline = clock.monotonic() + _LOCK_MOST_SECONDS
    while not await connection.fetchval(_SQL["try_lock"]):
        if clock.monotonic() >= deadline:
            raise DatabaseUnavailable(
                "Another process is migrating this database; wait for it, then run paybell migrate again."
            )
        await clock.sleep(_LOCK_POLL_SECONDS)


@asynccontextmanager
async def migration_session(url: str) -> AsyncIterator[Session]:
    """Yield a session with the limits of a migration; errors as in `revision`."""
    try:
        connection = await open_session(
            url, timeout=_CONNECT_TIMEOUT_SECONDS, server_settings=_SERVER_SETTINGS
        )
    except Exception as error:
        if is_refusal(error):
            raise Misconfigured(refusal(error)) from error
        if isinstance(error, LOST):
            raise DatabaseUnavailable(unreachable(error)) from error
        raise
    try:
        yield connection
    except POOLED as error:
        raise Misconfigured(refusal(error)) from error
    finally:
        await connection.close()


@contextmanager
def _explained(schema: Schema, step: str) -> Iterator[None]:
    """Put what stops a migration into a sentence that says what is done and what to do."""
    try:
        yield
    except asyncpg.LockNotAvailableError as error:
        raise DatabaseUnavailable(
            f"Schema {schema.name}, {step}: another session has held a table for {_TABLE_LOCK_SECONDS} s. "
            "What came before is applied; run paybell migrate again when it has ended."
        ) from error
    except (
        asyncpg.PostgresConnectionError,
        asyncpg.InterfaceError,
        asyncpg.AdminShutdownError,
        asyncpg.CrashShutdownError,
        OSError,
    ) as error:
        raise DatabaseUnavailable(
            f"Schema {schema.name}, {step}: the server ended the connection. What came before is applied; "
            "run paybell migrate again when it answers."
        ) from error
    except (asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError) as error:
        raise Misconfigured(
            f"Schema {schema.name}, {step}: {error}. If this database is for both pay and trade, give each a "
            "schema of its own: CREATE SCHEMA pay; CREATE SCHEMA trade; then end one URL with "
            "?search_path=pay and the other with ?search_path=trade."
        ) from error
    except asyncpg.PostgresError as error:
        raise Misconfigured(f"Schema {schema.name}, {step}: {error}. Nothing of it stays.") from error
