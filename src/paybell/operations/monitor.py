"""Keeps the samples of the last quarter of an hour and tells whoever watches of new ones."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from itertools import count

from paybell.operations.samples import Sample

PERIOD_SECONDS = 2.0
KEPT = int(15 * 60 / PERIOD_SECONDS)


class Monitor:
    """``look`` is the step of a loop."""

    def __init__(self, take: Callable[[], Awaitable[Sample]]) -> None:
        self._take = take
        self._history: deque[Sample] = deque(maxlen=KEPT)
        self._changed = asyncio.Condition()
        self._followers = 0
        self._rested = True

    @property
    def history(self) -> Sequence[Sample]:
        """What is kept, oldest first."""
        return list(self._history)

    async def look(self) -> int:
        """Take a sample, every other time while nobody watches; return 0, so that the loop stays slow."""
        self._rested = not self._rested and not self._followers
        if self._rested:
            return 0
        sample = await self._take()
        async with self._changed:
            self._history.append(sample)
            self._changed.notify_all()
        return 0

    async def follow(self, limit: int | None = None) -> AsyncGenerator[tuple[str, object], None]:
        """Yield what is kept as ``history``, then ``limit`` new ones (None: for ever), each as ``sample``."""
        self._followers += 1
        try:
            yield "history", self.history
            for _ in count() if limit is None else range(limit):
                async with self._changed:
                    await self._changed.wait()
                yield "sample", self._history[-1]
        finally:
            self._followers -= 1
