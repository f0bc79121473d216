"""How long things take at channels: when what is in doubt is asked about, and by how much clocks may differ.

Settings, because a demo or a test has no day to wait; in production the defaults are right.
"""

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from msgspec import Meta

from paybell.channels.decision import CALL_SCHEDULE, DEADLINE_MARGIN, WINDOW_SCHEDULE
from paybell.channels.methods import WINDOW_MARGIN
from paybell.channels.returns import RETURN_SCHEDULE
from paybell.environment.common import CommonSettings, Text
from paybell.errors import Misconfigured

_WAITS_MAX = 64


def as_text(schedule: tuple[float, ...]) -> str:
    """Write a schedule as its setting."""
    return ",".join(f"{wait:.15g}" for wait in schedule)


_CALLS, _WINDOWS, _RETURNS = map(as_text, (CALL_SCHEDULE, WINDOW_SCHEDULE, RETURN_SCHEDULE))


@dataclass(frozen=True, kw_only=True)
class PaceSettings(CommonSettings):
    """Schedules and margins of all channels."""

    call_schedule: Annotated[
        Text,
        Meta(
            description="After how many seconds each a debit in doubt is asked about at the remote wallet, "
            "separated by commas; then a person has to look."
        ),
    ] = _CALLS
    window_schedule: Annotated[
        Text,
        Meta(description="The same of a window; the last wait repeats while it is open."),
    ] = _WINDOWS
    return_schedule: Annotated[
        Text,
        Meta(description="The same of money on its way back; the last wait repeats until it has arrived."),
    ] = _RETURNS
    window_margin_seconds: Annotated[
        float,
        Meta(ge=0, le=3600, description="A window ends so much before its order."),
    ] = WINDOW_MARGIN.total_seconds()
    deadline_margin_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="How long after its end a window that its channel does not know counts as open.",
        ),
    ] = DEADLINE_MARGIN.total_seconds()

    @property
    def calls(self) -> tuple[float, ...]:
        """The schedule of calls."""
        return _schedule("PAYBELL_CALL_SCHEDULE", self.call_schedule)

    @property
    def windows(self) -> tuple[float, ...]:
        """The schedule of windows."""
        return _schedule("PAYBELL_WINDOW_SCHEDULE", self.window_schedule)

    @property
    def returns(self) -> tuple[float, ...]:
        """The schedule of money on its way back."""
        return _schedule("PAYBELL_RETURN_SCHEDULE", self.return_schedule)

    @property
    def window_margin(self) -> timedelta:
        """By how much a window ends before its order."""
        return timedelta(seconds=self.window_margin_seconds)

    @property
    def deadline_margin(self) -> timedelta:
        """How long after its end an unknown window counts as open."""
        return timedelta(seconds=self.deadline_margin_seconds)

    def check(self) -> None:
        """Check that schedules are numbers.

        Raises:
            Misconfigured: one is not.
        """
        super().check()
        _ = self.calls, self.windows, self.returns  # refused here, not when they are first needed


def faster(settings: PaceSettings, times: float) -> dict[str, str | float]:
    """Return the fields of the same schedules and margins so many times as fast."""
    return {
        "call_schedule": as_text(tuple(wait / times for wait in settings.calls)),
        "window_schedule": as_text(tuple(wait / times for wait in settings.windows)),
        "return_schedule": as_text(tuple(wait / times for wait in settings.returns)),
        "window_margin_seconds": settings.window_margin_seconds / times,
        "deadline_margin_seconds": settings.deadline_margin_seconds / times,
    }


def _schedule(variable: str, text: str) -> tuple[float, ...]:
    try:
        waits = tuple(map(float, text.split(",")))
    except ValueError:
        waits = ()
    if not 0 < len(waits) <= _WAITS_MAX or not all(math.isfinite(wait) and wait > 0 for wait in waits):
        raise Misconfigured(
            f"{variable} must be 1 to {_WAITS_MAX} numbers of seconds above 0, separated by commas."
        )
    return waits
