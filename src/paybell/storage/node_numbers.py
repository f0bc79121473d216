"""Node numbers for the processes that make ids (`paybell.ids.SnowflakeIds`), lent by a database.

A number is held under a lease. Whoever cannot renew it makes no more ids well before another process
may have the number, so two processes never make the same id, however often others were started.
"""

import secrets

from paybell.clock import Clock
from paybell.errors import Unavailable
from paybell.ids import NODES, SnowflakeIds
from paybell.storage.database import Database
from paybell.storage.queries import load_queries

_SQL = load_queries(__package__, "node_numbers.sql")

# A process that crashes and starts again each second takes 300 of the 1,024 numbers before the first is free.
LEASE_SECONDS = 300.0
RENEW_SECONDS = 60.0
# Ids hold the time of day: the clocks of two machines may differ by so much.
_MARGIN_SECONDS = 60.0


class NodeNumber:
    """The number of one process at one database, and the ids made with it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Use `NodeNumber.take`."""
        self._database = database
        self._clock = clock
        self._holder = secrets.randbits(63)
        self._node = -1
        self.ids: SnowflakeIds

    @classmethod
    async def take(cls, database: Database, clock: Clock) -> "NodeNumber":
        """Take a number that no living process holds.

        Raises:
            DatabaseUnavailable: it cannot be reached.
            Unavailable: all numbers are held.
        """
        number = cls(database, clock)
        valid_until = await number._take()
        number.ids = SnowflakeIds(clock, number._node, valid_until)
        return number

    async def renew(self) -> int:
        """Hold the number for longer, or another one if it was lost; return 0, since there is no more to do.

        Raises:
            DatabaseUnavailable, Unavailable: see `take`.
        """
        valid_until = self._valid_until()
        row = await self._database.fetch_one(
            _SQL["renew_node_number"], self._node, self._holder, LEASE_SECONDS
        )
        if row is None:
            valid_until = await self._take()
        self.ids.use(self._node, valid_until)
        return 0

    async def _take(self) -> float:
        for _ in range(NODES):
            valid_until = self._valid_until()
            row = await self._database.fetch_one(_SQL["take_node_number"], self._holder, LEASE_SECONDS)
            if row is not None:
                self._node = int(row["node"])
                return valid_until
        raise Unavailable(
            f"All {NODES} numbers of processes that make ids are held; one is free in 5 minutes."
        )

    def _valid_until(self) -> float:
        """Return the monotonic second until which a lease that is asked for now is safe to use."""
        return self._clock.monotonic() + LEASE_SECONDS - _MARGIN_SECONDS
