"""What a process tells the console of its settlements: how many there were, and the seconds they took."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress

from paybell.errors import PaybellError
from paybell.storage import Database, load_queries

_SQL = load_queries(__package__)
# Twice as often as the console looks, so that each look finds something new.
BEAT_SECONDS = 1.0


class SettleTimes:
    """The row of one process; ``settled`` returns both figures, counted since the process began."""

    def __init__(self, database: Database, settled: Callable[[], tuple[float, float]]) -> None:
        self._database = database
        self._settled = settled
        self._process = secrets.randbits(63)

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the row fresh until stopped, then remove it.

        Raises:
            DatabaseUnavailable: it cannot be reached; run again.
        """
        try:
            while not stop.is_set():
                settlements, seconds = self._settled()
                async with self._database.transaction() as tx:
                    await tx.execute(_SQL["say_settle_time"], self._process, int(settlements), seconds)
                with suppress(TimeoutError):
                    async with asyncio.timeout(BEAT_SECONDS):
                        await stop.wait()
        finally:
            with suppress(PaybellError):  # it goes stale by itself
                async with self._database.transaction() as tx:
                    await tx.execute(_SQL["forget_settle_times"], self._process)
