"""What an operator is told: decided from one sample."""

from datetime import UTC, datetime
from typing import Any

import pytest

from paybell.operations.samples import QueueSample, RefusedSample, Sample, Trouble
from paybell.operations.troubles import troubles
from paybell.telemetry.percentiles import percentile

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
WELL: dict[str, Any] = {
    "outbox_pending": 3,
    "outbox_oldest_seconds": 0.1,
    "overdue_seconds": 0.0,
    "snapshot_seconds": 0.0,
    "retries": 0,
    "dead_letters": 0,
    "differences": 0,
    "manual_attempts": 0,
    "queues": [QueueSample("q", 5, 1)],
}


def found(*away: str, **changes: Any) -> list[Trouble]:
    return troubles(Sample(NOON, **{**WELL, **changes}), away)


def test_all_is_well() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("changes", "code", "figure", "part"),
    [
        ({"outbox_oldest_seconds": 31.0}, "outbox_old", 31.0, ""),
        ({"queues": [QueueSample("q", 7, 0)]}, "no_consumer", 7, "q"),
        ({"queues": [QueueSample("q", 0, -1)]}, "queue_missing", 0, "q"),
        ({"queues": [QueueSample("q", 10_001, 1)]}, "queue_long", 10_001, "q"),
        (
            {"refused": [RefusedSample("pay.events", "pay.success", "full", 7)]},
            "messages_refused",
            7,
            "exchange pay.events, routing key pay.success: full",
        ),
        ({"queues": [QueueSample("q", 5, 3, 2)]}, "foreign_consumers", 2, "q"),
        ({"dead_letters": 2}, "dead_letters", 2, ""),
        ({"differences": 4}, "differences", 4, ""),
        ({"manual_attempts": 3}, "manual_attempts", 3, ""),
        ({"open_disputes": 1}, "disputes", 1, ""),
        ({"not_given_back": 2}, "not_given_back", 2, ""),
        ({"attempts_differ": 1}, "attempts_differ", 1, ""),
        ({"overdue_seconds": 11.0}, "overdue", 11.0, ""),
        ({"snapshot_seconds": 901.0}, "old_snapshot", 901.0, ""),
    ],
)
def test_each_trouble_is_named_with_its_figure(
    changes: dict[str, Any], code: str, figure: float, part: str
) -> None:
    assert found(**changes) == [Trouble(code, figure, part)]


def test_a_backlog_that_moves_is_no_trouble() -> None:
    """Its age is what counts."""
    assert found(outbox_pending=90_000, outbox_oldest_seconds=29.0) == []


def test_what_does_not_answer_is_named_once_and_first() -> None:
    """And what could not be found out is nobody's fault."""
    nothing = dict.fromkeys(WELL)

    assert found("broker", "pay_database", "broker", **nothing) == [
        Trouble("away", 0, "broker"),
        Trouble("away", 0, "pay_database"),
    ]


def test_percentiles_are_of_what_was_seen() -> None:
    assert percentile([], 0.5) is None
    assert percentile([1.0], 0.99) == 1.0
    assert percentile([float(n) for n in range(1, 101)], 0.50) == 50.0
    assert percentile([float(n) for n in range(1, 101)], 0.99) == 99.0
