"""A clock of the simulators' own: it may run faster than ours, and jump."""

from datetime import datetime, timedelta

from paybell.clock import Clock


class SandboxClock:
    """Time of the channels' side; its pace is a factor of the machine's."""

    def __init__(self, clock: Clock, speed: float = 1.0) -> None:
        """Start at the present, ``speed`` times as fast."""
        self._clock, self._speed = clock, speed
        self._start, self._started = clock.now(), clock.monotonic()
        self._ahead = timedelta(0)

    def now(self) -> datetime:
        """Return its time of day in UTC."""
        passed = (self._clock.monotonic() - self._started) * self._speed
        return self._start + timedelta(seconds=passed) + self._ahead

    def advance(self, seconds: float) -> None:
        """Jump ahead, or back."""
        self._ahead += timedelta(seconds=seconds)
