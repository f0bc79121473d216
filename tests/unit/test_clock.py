"""Time as Paybell writes it."""

from datetime import UTC, datetime

import pytest

from paybell.clock import SystemClock, rfc3339
from paybell.testing import FrozenClock


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 1, 31, 12, tzinfo=UTC), "2026-01-31T12:00:00.000Z"),
        (datetime(2026, 1, 31, 12, 0, 0, 999_999, tzinfo=UTC), "2026-01-31T12:00:00.999Z"),
        (datetime(2026, 1, 31, 12, 0, 0, 1_000, tzinfo=UTC), "2026-01-31T12:00:00.001Z"),
    ],
)
def test_times_are_rfc_3339_with_milliseconds(moment: datetime, text: str) -> None:
    """Cut, not rounded: a time is never written as one that has not come."""
    assert rfc3339(moment) == text


def test_the_systems_clock_tells_utc() -> None:
    assert SystemClock().now().tzinfo is UTC


async def test_frozen_time_moves_only_when_told_to() -> None:
    clock = FrozenClock()
    start, measured = clock.now(), clock.monotonic()
    assert clock.now() == start
    clock.advance(1.5)
    await clock.sleep(0.5)

    assert (clock.now() - start).total_seconds() == clock.monotonic() - measured == 2
