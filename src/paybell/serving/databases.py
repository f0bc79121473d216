"""Where a command finds the two databases: given by URL, or embedded."""

from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

from paybell.clock import Clock
from paybell.errors import DatabaseUnavailable, Misconfigured
from paybell.messaging import tables as listener_tables
from paybell.pay import tables as pay_tables
from paybell.settings import Settings
from paybell.storage import migrate
from paybell.storage.embedded import PAY_DATABASE, TRADE_DATABASE, embedded_postgres
from paybell.storage.schema import Schema
from paybell.trade import tables as trade_tables

# Which migrations each database gets: trade listens, so it holds an inbox too.
SCHEMAS: Mapping[str, tuple[Schema, ...]] = {
    "pay": (pay_tables.SCHEMA,),
    "trade": (trade_tables.SCHEMA, listener_tables.SCHEMA),
}
# Which roles need which database.
_USERS: Mapping[str, frozenset[str]] = {
    "pay": frozenset({"api", "background", "ops"}),
    "trade": frozenset({"trade", "ops"}),
}
VARIABLES: Mapping[str, str] = {"pay": "PAYBELL_DATABASE_URL", "trade": "PAYBELL_TRADE_DATABASE_URL"}
# A database that is started together with us is up within this; longer is a mistake a person must see.
WAIT_SECONDS = 8.0
_POLL_SECONDS = 0.2
_EMBEDDED: Mapping[str, str] = {"pay": PAY_DATABASE, "trade": TRADE_DATABASE}


def databases_of(roles: frozenset[str]) -> list[str]:
    """Return which of ``pay`` and ``trade`` these roles need."""
    return [name for name, users in _USERS.items() if roles & users]


@contextmanager
def databases(settings: Settings, names: Collection[str] = tuple(SCHEMAS)) -> Iterator[dict[str, str]]:
    """Yield the URLs of ``pay`` and ``trade``; the embedded server runs meanwhile if it is needed.

    Raises:
        Misconfigured: a URL is missing where the embedded server may not stand in; or it does not start.
    """
    given = _given(settings, names)
    if all(given.values()):
        yield given
        return
    if not settings.loopback or settings.database_url or settings.trade_database_url:
        missing = next(VARIABLES[name] for name, url in given.items() if not url)
        raise Misconfigured(
            f"Set {missing}: the embedded PostgreSQL is for trying Paybell out, on the loopback and for both "
            "databases."
        )
    with embedded_postgres(settings.home) as embedded:
        yield {name: embedded[_EMBEDDED[name]] for name in names}


def is_embedded(settings: Settings, names: Collection[str] = tuple(SCHEMAS)) -> bool:
    """Say whether `databases` starts the embedded server for these."""
    return not all(_given(settings, names).values())


def _given(settings: Settings, names: Collection[str]) -> dict[str, str]:
    given = {"pay": settings.database_url, "trade": settings.trade_database_url}
    return {name: given[name] for name in names}


@contextmanager
def named(name: str) -> Iterator[None]:
    """Begin the sentence of what is wrong with a database with the variable to look at."""
    try:
        yield
    except (DatabaseUnavailable, Misconfigured) as error:
        raise type(error)(f"{VARIABLES[name]}: {error}") from error


@asynccontextmanager
async def prepared(
    settings: Settings, clock: Clock, names: Collection[str] = tuple(SCHEMAS)
) -> AsyncIterator[dict[str, str]]:
    """Yield what `databases` does to a command that only reads: embedded ones as `serve` would find them.

    Raises:
        DatabaseUnavailable, Misconfigured: as `prepare`, also for a database that is empty.
    """
    with databases(settings, names) as urls:
        await prepare(settings, urls, clock, fill=False)
        yield urls


async def prepare(
    settings: Settings,
    urls: Mapping[str, str],
    clock: Clock,
    *,
    fill: bool = True,
    wait_seconds: float = WAIT_SECONDS,
) -> None:
    """Bring embedded databases, and if ``fill`` empty ones, to the newest schema; insist on it for others.

    Raises:
        DatabaseUnavailable: one does not answer within this wait; the sentence names its variable.
        Misconfigured: one refuses us, or is behind; migrating it is the operator's decision.
    """
    embedded = {"pay": not settings.database_url, "trade": not settings.trade_database_url}
    deadline = clock.monotonic() + wait_seconds
    for name, url in urls.items():
        with named(name):
            for schema in SCHEMAS[name]:
                await _prepare(url, schema, clock, deadline, embedded=embedded[name], fill=fill)


async def _prepare(
    url: str, schema: Schema, clock: Clock, deadline: float, *, embedded: bool, fill: bool
) -> None:
    found = await _revision(url, schema, clock, deadline)
    if found.usable:
        return
    newer = found.current is not None and found.current > found.needed
    if newer or not (embedded or (fill and found.current is None)):
        raise Misconfigured(unusable(schema, found))
    await migrate.migrate(url, schema)


def unusable(schema: Schema, found: migrate.Revision) -> str:
    """Return the sentence for a schema that this release cannot work with, and what to do."""
    version = found.current or "not yet"
    has = f"The database has schema {schema.name} {version}, this version needs {found.needed}"
    if found.current is not None and found.current > found.needed:
        return f"{has}, and nothing older than {found.floor} can use it: run the newer release."
    return f"{has}: run paybell migrate."


async def _revision(url: str, schema: Schema, clock: Clock, deadline: float) -> migrate.Revision:
    while True:
        try:
            return await migrate.revision(url, schema)
        except DatabaseUnavailable:
            if clock.monotonic() >= deadline:
                raise
            await clock.sleep(_POLL_SECONDS)
