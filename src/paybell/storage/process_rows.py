"""What a process says of itself in rows of its own, for other processes to read."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress

from paybell.errors import PaybellError
from paybell.storage.database import Database
from paybell.storage.queries import Query


class ProcessRows:
    """The rows of one process in one table."""

    def __init__(
        self,
        database: Database,
        write: Callable[[Database, int], Awaitable[object]],
        forget: Query,
        *,
        period_seconds: float,
    ) -> None:
        """Take what writes the rows under the process's number, and what removes those of a number."""
        self._database = database
        self._write = write
        self._forget = forget
        self._period_seconds = period_seconds
        self._process = secrets.randbits(63)

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the rows fresh until stopped, then remove them.

        Raises:
            DatabaseUnavailable: it cannot be reached; run again.
        """
        try:
            while not stop.is_set():
                await self._write(self._database, self._process)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._period_seconds):
                        await stop.wait()
        finally:
            with suppress(PaybellError):  # they go stale by themselves
                await self._database.fetch(self._forget, self._process)
