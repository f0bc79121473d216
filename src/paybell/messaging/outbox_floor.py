"""Where claiming begins: an id below which the outbox holds nothing, and never will.

While somebody holds an old snapshot (a dump, `paybell verify`), PostgreSQL keeps every removed row and its
place in the index, and who looks for the lowest ids walks over all of them. From the floor on there are few.
"""

from paybell.storage import Database, load_queries

_SQL = load_queries(__package__)
# What is published in twice this time is walked over by each claim.
FLOOR_IDLE_SECONDS = 0.25
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
        """Raise it to what is decided, look what to wait for next; return 0, so that the loop stays slow."""
        if self._writers is not None:
            if self._writers & await self._writing():
                return 0
            await self._database.fetch(_SQL["raise_floor"], self._newest, STEP)
        # In this order: who takes a lower id has the lock already.
        row = await self._database.fetch_one(_SQL["newest_id"])
        assert row is not None
        self._newest = row["newest"]
        self._writers = await self._writing()
        return 0

    async def _writing(self) -> frozenset[str]:
        return frozenset(row["writer"] for row in await self._database.fetch(_SQL["outbox_writers"]))
