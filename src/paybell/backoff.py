"""How long to wait before trying again: pure, the random source is handed in."""

import random
from collections.abc import Iterator
from itertools import count


def exponential(*, first: float, limit: float, jitter: random.Random | None = None) -> Iterator[float]:
    """Yield waits in seconds that double from ``first`` up to ``limit``.

    With ``jitter`` each wait is drawn from the upper half of its step, so that
    many clients of one broken server do not come back in the same instant.
    """
    for step in count():
        wait = min(limit, first * 2.0 ** min(step, 32))
        yield wait if jitter is None else wait * (0.5 + jitter.random() / 2)


# Waits between attempts of a listener, in seconds: long enough for a deployment to be
# rolled back (10 min), short enough that a passing fault costs the buyer only 5 s.
LISTENER_RETRY_SECONDS = (5.0, 30.0, 120.0, 600.0)


def listener_retry(attempts: int) -> float | None:
    """Return the wait in seconds after this many failed attempts, None to give up."""
    if attempts > len(LISTENER_RETRY_SECONDS):
        return None
    return LISTENER_RETRY_SECONDS[attempts - 1]
