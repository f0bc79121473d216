"""How much notices of one channel may cost a process, so that a flood of them costs nobody else anything.

Whoever may send them is a stranger until a signature was verified. What is turned away is answered as the
channel expects of a failure, so that a real one comes again; and every attempt is asked after anyway.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from paybell.clock import Clock

log = structlog.get_logger()
# Each that is verified needs a connection of the database for some milliseconds.
UNDER_WAY_MAX = 8
# Unsigned ones in a second, each a signature verified and a line in the log; what else comes in that second
# is turned away unread.
REFUSED_MAX = 50
_SECOND = 1.0


class NoticeGate:
    """Counts one channel's notices of this process."""

    def __init__(self, channel: str, clock: Clock) -> None:
        self._channel, self._clock = channel, clock
        self._under_way, self._refused, self._turned_away = 0, 0, 0
        self._second_ends = 0.0

    def admits(self) -> bool:
        """Say whether one more is taken now; what is turned away is counted, and said once a second."""
        now = self._clock.monotonic()
        if now >= self._second_ends:
            if self._turned_away:
                log.warning("notices_turned_away", channel=self._channel, count=self._turned_away)
            self._second_ends, self._refused, self._turned_away = now + _SECOND, 0, 0
        if self._under_way < UNDER_WAY_MAX and self._refused < REFUSED_MAX:
            return True
        self._turned_away += 1
        return False

    def note_refused(self) -> None:
        """Learn that one was not the channel's."""
        self._refused += 1

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Hold one of the places."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
