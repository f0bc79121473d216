"""How much a channel may hold up: so many calls at once, and none while it is away.

Kept by each process for itself. A channel that hangs costs its own callers a refusal, and nobody else
anything.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from paybell.channels.answers import NotSent, Unknown
from paybell.channels.errors import ChannelUnavailable
from paybell.clock import Clock

CALLS_MAX = 64
# So many calls in a row without a certain answer, and the channel counts as away for so long; then one call
# tries.
FAILURES_MAX, AWAY_SECONDS = 5, 10.0


class Circuit:
    """Lets calls through to one channel, or says at once that it is away."""

    def __init__(self, clock: Clock, calls_max: int = CALLS_MAX) -> None:
        self._clock = clock
        self._calls = asyncio.Semaphore(calls_max)
        self._failures = 0
        self._away_until = 0.0

    @property
    def away(self) -> bool:
        """Say whether a call would be refused now because the channel does not answer."""
        return self._clock.monotonic() < self._away_until

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """Hold one of the channel's calls.

        Raises:
            ChannelUnavailable: it is away, or all its calls are under way.
        """
        if self.away or self._calls.locked():
            raise ChannelUnavailable
        if self._away_until:  # it was away: one call finds out, and those meanwhile are refused as before
            self._away_until = self._clock.monotonic() + AWAY_SECONDS
        async with self._calls:
            yield

    def note(self, said: object) -> None:
        """Learn from what came of a call."""
        if not isinstance(said, NotSent | Unknown) or (isinstance(said, Unknown) and said.answered):
            self._failures, self._away_until = 0, 0.0
            return
        self._failures += 1
        if self._failures >= FAILURES_MAX:
            self._away_until = self._clock.monotonic() + AWAY_SECONDS
