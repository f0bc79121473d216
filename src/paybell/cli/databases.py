"""Where a command finds the two databases: given by URL, or embedded."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from paybell.errors import Misconfigured
from paybell.settings import Settings
from paybell.storage import migrate
from paybell.storage.embedded import PAY_DATABASE, TRADE_DATABASE, embedded_postgres

# Which migrations each database gets: trade listens, so it holds an inbox too.
SCHEMAS: Mapping[str, tuple[str, ...]] = {"pay": ("pay",), "trade": ("trade", "listeners")}


@contextmanager
def databases(settings: Settings) -> Iterator[dict[str, str]]:
    """Yield the URLs of ``pay`` and ``trade``; the embedded server runs meanwhile if it is needed.

    Raises:
        Misconfigured: the embedded server does not start.
    """
    with ExitStack() as stack:
        embedded: Mapping[str, str] = {}
        if settings.embedded:
            embedded = stack.enter_context(embedded_postgres(settings.home))
        yield {
            "pay": settings.database_url or embedded[PAY_DATABASE],
            "trade": settings.trade_database_url or embedded[TRADE_DATABASE],
        }


async def prepare(settings: Settings, urls: Mapping[str, str]) -> None:
    """Bring embedded and empty databases to the newest schema; insist on it for all others.

    Raises:
        Misconfigured: a database given by URL is behind; migrating it is the operator's decision.
    """
    embedded = {"pay": not settings.database_url, "trade": not settings.trade_database_url}
    for name, schemas in SCHEMAS.items():
        for schema in schemas:
            found = await migrate.revision(urls[name], schema)
            if found.current == found.needed:
                continue
            if found.current is not None and not embedded[name]:
                raise Misconfigured(
                    f"The {name} database has schema {schema} {found.current}, this version needs "
                    f"{found.needed}: run paybell migrate."
                )
            await migrate.migrate(urls[name], schema)
