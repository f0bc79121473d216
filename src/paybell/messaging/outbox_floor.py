"""Where claiming begins: an id below which the outbox holds nothing, and never will.

While somebody holds an old snapshot (a dump, `paybell verify`), PostgreSQL keeps every removed row and its
place in the index, and who looks for the lowest ids walks over all of them. From the floor on there are few.
"""

from collections.abc import Sequence

from paybell.storage import Database, Record, load_queries

_SQL = load_queries(__package__)
# Whether it could be raised.
FLOOR_DUE = _SQL["floor_due"]
# What is published in twice this time is walked over by each claim.
FLOOR_REST_SECONDS = 0.25
# Each change leaves a version of the floor's own row behind under an old snapshot.
STEP = 1_000


class OutboxFloor:
    """Raises the floor; any number of processes may.

    An id is taken under the lock that an INSERT holds on its table until its transaction ends. So all ids up
    to one that was handed out are decided when every transaction has ended that had this lock at that time.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._newest = 0
        self._writers: frozenset[str] | None = None

    async def run_once(self) -> int:
        """Raise it to what is decided, remember what to wait for next; return 1 while events come or go."""
        row = await self._database.fetch_one(_SQL["look_at_outbox"])
        assert row is not None
        newest, writers = row["newest"], frozenset(row["writers"])
        raised: Sequence[Record] = ()
        if self._writers is not None:
            if self._writers & writers:
                return 1
            raised = await self._database.fetch(_SQL["raise_floor"], self._newest, STEP)
        moved = newest > self._newest or bool(raised)
        self._newest, self._writers = newest, writers
        return int(moved)
