"""The databases: reached, of the needed schema, on time, not owned by who serves, with room for sessions."""

from collections.abc import AsyncIterator
from contextlib import suppress

from paybell.clock import Clock
from paybell.diagnosis.findings import Finding, of_error
from paybell.diagnosis.waiting import examine_waiting
from paybell.errors import PaybellError
from paybell.serving.databases import SCHEMAS, databases, databases_of, is_embedded, named
from paybell.settings import Settings
from paybell.storage import Database, migrate
from paybell.storage.runtime_role import owned_tables
from paybell.storage.schema import Schema
from paybell.storage.server_state import server_time, sessions_allowed

# Machines' clocks further apart than this make deadlines and traces look wrong.
CLOCK_MOST_SECONDS = 2.0


async def examine_databases(
    settings: Settings, roles: frozenset[str], clock: Clock
) -> AsyncIterator[Finding]:
    """Look at the databases these roles need: reached, schema, clock, owner, connections, and what waits."""
    try:
        names = databases_of(roles)
        with databases(settings, names) as urls:
            if is_embedded(settings, names):
                yield Finding("databases", "ok", f"the embedded PostgreSQL, in {settings.home}")
            for name in urls:
                embedded = is_embedded(settings, [name])
                async for finding in _database(name, urls[name], clock, embedded=embedded):
                    yield finding
                with suppress(PaybellError):  # whatever it is, it has been said
                    async for finding in _room(name, urls[name], settings.database_connections, clock):
                        yield finding
            with suppress(PaybellError):
                async for finding in examine_waiting(settings, urls, clock):
                    yield finding
    except PaybellError as error:  # a URL that is missing, or the embedded server
        yield of_error("database", error)


async def _database(name: str, url: str, clock: Clock, *, embedded: bool) -> AsyncIterator[Finding]:
    part = f"{name} database"
    try:
        with named(name):
            behind = [text for schema in SCHEMAS[name] if (text := await _behind(url, schema))]
            if behind:
                advice = "Run paybell migrate, or the release that made it."
                yield Finding(part, "error", "; ".join(behind), advice)
                return
            async with Database.open(url, clock, connections=2, wait_seconds=2) as database:
                await database.check()
                yield Finding(part, "ok", "answers, schema as needed")
                yield await _clock(part, database, clock)
                if not embedded:
                    yield await _role(part, database)
    except PaybellError as error:
        yield of_error(part, error)


async def _behind(url: str, schema: Schema) -> str:
    found = await migrate.revision(url, schema)
    if found.usable:
        return ""
    return f"schema {schema.name} is {found.current or 'not there'}, this version needs {found.needed}"


async def _clock(part: str, database: Database, clock: Clock) -> Finding:
    before = clock.now()
    off = (await server_time(database) - before).total_seconds()
    if abs(off) > CLOCK_MOST_SECONDS:
        what = f"this machine and the {part}'s differ by {abs(off):.1f} s"
        return Finding("clock", "error", what, "Synchronise both with NTP (timedatectl, chronyc).")
    return Finding("clock", "ok", f"agrees with the {part}'s")


async def _role(part: str, database: Database) -> Finding:
    """Whoever owns the tables can rewrite history whatever its triggers say."""
    role, tables = await owned_tables(database)
    if not tables:
        return Finding(part, "ok", f"{role} owns no table: it cannot change history")
    return Finding(
        part,
        "warning",
        f"{role} owns {tables} tables, so it can change or empty the history of payments",
        "As the owner run paybell migrate --runtime-role NAME, and let the service's URL name NAME.",
    )


async def _room(name: str, url: str, connections: int, clock: Clock) -> AsyncIterator[Finding]:
    """Compare the connections a process may open with what the server lets this user have."""
    async with Database.open(url, clock, connections=1, wait_seconds=2) as database:
        allowed = await sessions_allowed(database)
    if allowed < connections:
        yield Finding(
            f"{name} database",
            "warning",
            f"each process may open {connections} connections, this user may have {allowed} in all",
            "Lower PAYBELL_DATABASE_CONNECTIONS, or raise CONNECTION LIMIT of the role and the database, or "
            "max_connections.",
        )
