"""How long to wait before trying again."""

import random
from itertools import islice

import pytest

from paybell.backoff import LISTENER_RETRY_SECONDS, exponential, listener_retry


def test_waits_double_up_to_the_most() -> None:
    assert list(islice(exponential(first=0.1, limit=1.0), 6)) == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_waits_stay_at_the_most_however_long_it_takes() -> None:
    """The ten-thousandth step does not overflow."""
    assert next(islice(exponential(first=0.1, limit=2.0), 10_000, None)) == 2.0


def test_jitter_takes_the_upper_half_of_each_step() -> None:
    """Many clients come back at different moments, and none of them at once."""
    steps = list(islice(exponential(first=0.1, limit=2.0), 200))
    waits = list(islice(exponential(first=0.1, limit=2.0, jitter=random.Random(1)), 200))

    assert all(step / 2 <= wait <= step for step, wait in zip(steps, waits, strict=True))
    assert len(set(waits)) == 200


@pytest.mark.parametrize(
    ("attempts", "wait"), [(1, 5.0), (2, 30.0), (3, 120.0), (4, 600.0), (5, None), (6, None), (1_000, None)]
)
def test_a_listener_is_given_four_more_tries(attempts: int, wait: float | None) -> None:
    """5 s, 30 s, 2 min and 10 min after the first one, then it is over."""
    assert listener_retry(attempts) == wait
    assert len(LISTENER_RETRY_SECONDS) == 4
