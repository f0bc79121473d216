"""The role that serves: it reads and adds to history, and can neither change it nor the schema.

Tables belong to the role that migrates; each schema's ``rights.sql`` says what the other one may do.
"""

from collections.abc import Sequence

import asyncpg

from paybell.storage.database import Database
from paybell.storage.migrate import migration_session
from paybell.storage.queries import load_queries
from paybell.storage.schema import Schema

_SQL = load_queries(__package__, "runtime_role.sql")
# Whoever is not the owner, or names a role that is not there.
_REFUSALS = (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedObjectError)


async def grant(url: str, schemas: Sequence[Schema], role: str) -> str:
    """Give a role exactly the rights it needs, in one transaction.

    Returns:
        Empty, or, where this URL's role may not, the SQL for somebody who may.

    Raises:
        DatabaseUnavailable: the server does not answer. Misconfigured: it refuses us.
    """
    async with migration_session(url) as connection:
        names = await connection.fetchrow(_SQL["quoted_names"], role)
        assert names is not None
        statements = [_SQL["begin_rights"], *(schema.rights() for schema in schemas)]
        text = "\n".join(statements).replace(":schema", names["schema"]).replace(":role", names["role"])
        try:
            async with connection.transaction():
                await connection.execute(text)
        except _REFUSALS:
            return text if names["known"] else f"CREATE ROLE {names['role']} LOGIN;\n{text}"
    return ""


async def owned_tables(database: Database) -> tuple[str, int]:
    """Return the name of this URL's role, and how many tables it could change, empty or drop at will."""
    row = await database.fetch_one(_SQL["owned_tables"])
    assert row is not None
    return row["role"], row["tables"]
