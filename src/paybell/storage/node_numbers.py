"""Numbers for the processes that make ids (`paybell.ids.SnowflakeIds`), handed out by a database."""

from paybell.storage.database import Database
from paybell.storage.queries import load_queries

_SQL = load_queries(__package__, "node_numbers.sql")


async def next_node_number(database: Database) -> int:
    """Return a node number for the ids this process makes."""
    row = await database.fetch_one(_SQL["next_node_number"])
    assert row is not None
    return int(row["node"])
