"""What a server says of itself, for those who watch it."""

from datetime import datetime

from paybell.storage.database import Database
from paybell.storage.queries import load_queries

_SQL = load_queries(__package__)


async def server_time(database: Database) -> datetime:
    """Return the time on the server's clock."""
    row = await database.fetch_one(_SQL["read_server_time"])
    assert row is not None
    now: datetime = row["now"]
    return now


async def sessions_allowed(database: Database) -> int:
    """Return how many sessions the server lets this user have in this database, whoever opens them."""
    row = await database.fetch_one(_SQL["read_sessions_allowed"])
    assert row is not None
    return int(row["allowed"])


async def oldest_snapshot_seconds(database: Database) -> float:
    """Return how long the oldest snapshot is held for which the server keeps what was removed since.

    Only of sessions this user may see: its own, and those of others with ``pg_read_all_stats``.
    """
    row = await database.fetch_one(_SQL["read_oldest_snapshot"])
    assert row is not None
    return max(0.0, float(row["seconds"]))
