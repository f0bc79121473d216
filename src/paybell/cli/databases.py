"""Where a command finds the two databases: given by URL, or embedded."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from paybell.errors import DatabaseUnavailable, Misconfigured
from paybell.settings import Settings
from paybell.storage import migrate
from paybell.storage.embedded import PAY_DATABASE, TRADE_DATABASE, embedded_postgres

# Which migrations each database gets: trade listens, so it holds an inbox too.
SCHEMAS: Mapping[str, tuple[str, ...]] = {"pay": ("pay",), "trade": ("trade", "listeners")}
VARIABLES: Mapping[str, str] = {"pay": "PAYBELL_DATABASE_URL", "trade": "PAYBELL_TRADE_DATABASE_URL"}
_EMBEDDED: Mapping[str, str] = {"pay": PAY_DATABASE, "trade": TRADE_DATABASE}


@contextmanager
def databases(settings: Settings, names: Collection[str] = tuple(SCHEMAS)) -> Iterator[dict[str, str]]:
    """Yield the URLs of ``pay`` and ``trade``; the embedded server runs meanwhile if it is needed.

    Raises:
        Misconfigured: the embedded server does not start.
    """
    given = {"pay": settings.database_url, "trade": settings.trade_database_url}
    if all(given[name] for name in names):
        yield {name: given[name] for name in names}
        return
    with embedded_postgres(settings.home) as embedded:
        yield {name: given[name] or embedded[_EMBEDDED[name]] for name in names}


async def prepare(settings: Settings, urls: Mapping[str, str]) -> None:
    """Bring embedded and empty databases to the newest schema; insist on it for all others.

    Raises:
        DatabaseUnavailable: one does not answer; the sentence names its variable.
        Misconfigured: one refuses us, or is behind; migrating it is the operator's decision.
    """
    embedded = {"pay": not settings.database_url, "trade": not settings.trade_database_url}
    for name, url in urls.items():
        try:
            for schema in SCHEMAS[name]:
                await _prepare(url, schema, embedded=embedded[name])
        except (DatabaseUnavailable, Misconfigured) as error:
            raise type(error)(f"{VARIABLES[name]}: {error}") from error


async def _prepare(url: str, schema: str, *, embedded: bool) -> None:
    found = await migrate.revision(url, schema)
    if found.current == found.needed:
        return
    if found.current is not None and not embedded:
        raise Misconfigured(
            f"The database has schema {schema} {found.current}, this version needs {found.needed}: "
            "run paybell migrate."
        )
    await migrate.migrate(url, schema)
