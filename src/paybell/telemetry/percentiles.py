"""Percentiles of what was measured."""

from collections.abc import Sequence
from math import ceil


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the value that this share (0 to 1) of all values does not exceed, nearest rank; None of none."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)] if values else None
