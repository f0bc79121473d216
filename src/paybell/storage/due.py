"""Loops that have nothing to do sleep until something is due: one statement looks for all of a process."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable

from paybell.storage.database import Database
from paybell.storage.queries import Query, in_one_row
from paybell.worker import Loop

# Between looks while nothing is due, in seconds: what falls due is taken up so much later at most.
_LOOK_SECONDS = 1.0
# A loop that nothing wakes looks for itself after this; nothing depends on it.
UNASKED_SECONDS = 30.0


class DueWatch:
    """What may be due in one database; ``loop`` makes those it wakes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loops: dict[tuple[Query, str], list[asyncio.Event]] = defaultdict(list)

    def loop(
        self,
        name: str,
        step: Callable[[], Awaitable[int]],
        due: Query,
        key: str = "",
        *,
        wake: asyncio.Event | None = None,
        full: int = 1,
        rest_seconds: float = 0.0,
    ) -> Loop:
        """Return a loop that is woken when there is something to do for it.

        Args:
            name: of the loop.
            step: as a loop's.
            due: returns one boolean, whether there is; ``$1`` is the time, ``$2`` the key, if there is one.
            key: whose work it is, where several loops share the query.
            wake: what else wakes it.
            full: as a loop's.
            rest_seconds: as a loop's.
        """
        wake = wake or asyncio.Event()
        self._loops[due, key].append(wake)
        return Loop(name, step, wake, UNASKED_SECONDS, full, rest_seconds)

    def looks(self, name: str = "due") -> Loop:
        """Return the loop of all looks."""
        return Loop(name, self.look, idle_seconds=_LOOK_SECONDS)

    async def look(self) -> int:
        """Wake every loop that has something to do; return 0, so that the looks stay apart.

        Raises:
            DatabaseUnavailable: it cannot be asked.
        """
        asked = list(self._loops)
        statement, keys = in_one_row(asked)
        row = await self._database.fetch_one(statement, self._database.now, *keys)
        assert row is not None
        for one, due in zip(asked, list(row.values())[1:], strict=True):
            if due:
                for wake in self._loops[one]:
                    wake.set()
        return 0
