"""``paybell migrate``."""

from typing import Annotated

from cyclopts import Parameter

from paybell.cli.output import out, print_json
from paybell.messaging.tables import SCHEMA as LISTENERS
from paybell.serving.databases import SCHEMAS, databases, named
from paybell.settings import read_settings
from paybell.storage import migrate as migrations


async def migrate(*, listeners: str = "", json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Bring the databases to the schema this version needs.

    Args:
        listeners: URL of a database of your own that is to hold listeners' tables (inbox and failed
            deliveries); only this one is migrated then.
        json: end with one JSON line.
    """
    done: list[tuple[str, str | None, str]] = []
    if listeners:
        done.append((LISTENERS.name, *await migrations.migrate(listeners, LISTENERS)))
    else:
        with databases(read_settings()) as urls:
            for name, schemas in SCHEMAS.items():
                with named(name):
                    done += [
                        (schema.name, *await migrations.migrate(urls[name], schema)) for schema in schemas
                    ]
    if json:
        print_json([{"schema": schema, "from": before, "to": after} for schema, before, after in done])
    else:
        for schema, before, after in done:
            out.print(f"{schema}: {before or 'empty'} → {after}")
    return 0
