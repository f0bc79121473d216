"""``paybell migrate``."""

from paybell.cli.options import Flag
from paybell.cli.output import out, print_json
from paybell.messaging.tables import SCHEMA as LISTENERS
from paybell.serving.databases import SCHEMAS, databases, named
from paybell.settings import read_settings
from paybell.storage import migrate as migrations
from paybell.storage.runtime_role import grant


async def migrate(*, listeners: str = "", runtime_role: str = "", json: Flag = False) -> int:
    """Bring the databases to the schema this version needs.

    Args:
        listeners: URL of a database of your own that is to hold listeners' tables (inbox and failed
            deliveries); only this one is migrated then.
        runtime_role: the role that serves, which gets exactly the rights it needs; where we may not give
            them, the SQL is printed for somebody who may.
        json: end with one JSON line.
    """
    done: list[tuple[str, str | None, str]] = []
    granted: list[tuple[str, str]] = []
    if listeners:
        done.append((LISTENERS.name, *await migrations.migrate(listeners, LISTENERS)))
        if runtime_role:
            granted.append((LISTENERS.name, await grant(listeners, [LISTENERS], runtime_role)))
    else:
        with databases(read_settings()) as urls:
            for name, schemas in SCHEMAS.items():
                with named(name):
                    done += [
                        (schema.name, *await migrations.migrate(urls[name], schema)) for schema in schemas
                    ]
                    if runtime_role:
                        granted.append((name, await grant(urls[name], schemas, runtime_role)))
    if json:
        steps: list[dict[str, object]] = [
            {"schema": schema, "from": before, "to": after} for schema, before, after in done
        ]
        print_json(steps + [{"database": name, "role": runtime_role, "sql": sql} for name, sql in granted])
    else:
        for schema, before, after in done:
            out.print(f"{schema}: {before or 'empty'} → {after}")
        for name, sql in granted:
            _show(name, runtime_role, sql)
    return 1 if any(sql for _, sql in granted) else 0


def _show(name: str, role: str, sql: str) -> None:
    if sql:
        out.print(f"{name}: we may not give {role} its rights. Run this as the owner of the tables:")
        out.print(sql, markup=False, highlight=False, soft_wrap=True)
    else:
        out.print(f"{name}: {role} has the rights a serving process needs, and no others.")
