"""Bring a database to the schema this version needs: numbered SQL scripts, each applied once.

Why no library: `docs/decisions/migrations.md`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TypeAlias

import asyncpg

from paybell.errors import DatabaseUnavailable, Misconfigured
from paybell.storage.database import refusal

# A string: the driver's class is generic for type checkers only.
_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
_FORM = re.compile(r"(\d{4})_\w+\.sql")
_VERSIONS = """
CREATE TABLE IF NOT EXISTS paybell_schema_versions (
    schema      text NOT NULL,
    version     text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (schema, version)
)
"""
# Two processes that start at once must not both migrate; the number is arbitrary and ours.
_LOCK = f"SELECT pg_advisory_xact_lock({0x7061_7962})"
_CONNECT_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Revision:
    """The version a schema has (None: it is not there), and the one this release needs."""

    current: str | None
    needed: str


async def migrate(url: str, schema: str) -> tuple[str | None, str]:
    """Apply what is missing, all of it or nothing; return the version before and after.

    Args:
        url: of the database.
        schema: ``pay``, ``trade``, or ``listeners`` (inbox and failed deliveries, for any
            database with listeners). Each counts its own versions; one database can hold several.

    Raises:
        DatabaseUnavailable: the server does not answer.
        Misconfigured: it refuses us.
    """
    connection = await _connect(url)
    try:
        async with connection.transaction():
            await connection.execute(_LOCK)
            await connection.execute(_VERSIONS)
            before = await _current(connection, schema)
            for version, script in _scripts(schema):
                if before is None or version > before:
                    await connection.execute(script)
                    await connection.execute(
                        "INSERT INTO paybell_schema_versions (schema, version) VALUES ($1, $2)",
                        schema,
                        version,
                    )
            return before, _scripts(schema)[-1][0]
    except asyncpg.PostgresError as error:
        raise Misconfigured(f"The schema {schema} could not be migrated: {error}") from error
    finally:
        await connection.close()


async def revision(url: str, schema: str) -> Revision:
    """Return where a schema stands; errors as in `migrate`."""
    connection = await _connect(url)
    try:
        current = await _current(connection, schema)
    except asyncpg.UndefinedTableError:
        current = None
    finally:
        await connection.close()
    return Revision(current, _scripts(schema)[-1][0])


async def _connect(url: str) -> _Connection:
    try:
        return await asyncpg.connect(url, timeout=_CONNECT_TIMEOUT_SECONDS)
    except (OSError, TimeoutError, asyncpg.CannotConnectNowError) as error:
        raise DatabaseUnavailable("The database does not answer; check its URL and that it runs.") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise Misconfigured(refusal(error)) from error


async def _current(connection: _Connection, schema: str) -> str | None:
    version: str | None = await connection.fetchval(
        "SELECT max(version) FROM paybell_schema_versions WHERE schema = $1", schema
    )
    return version


def _scripts(schema: str) -> Sequence[tuple[str, str]]:
    folder = files("paybell.storage") / "migrations" / schema
    found = [(match[1], entry) for entry in folder.iterdir() if (match := _FORM.fullmatch(entry.name))]
    return [
        (version, entry.read_text(encoding="utf-8")) for version, entry in sorted(found, key=lambda f: f[0])
    ]
