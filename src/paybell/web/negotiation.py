"""What a caller would rather have, by the weights in its ``Accept…`` headers (RFC 9110 section 12.4.2)."""

import re
from collections.abc import Iterator, Sequence

_WEIGHT = re.compile(r"(?:q=)?(0(?:\.[0-9]*)?|1(?:\.0*)?|)", re.ASCII)
# No client needs more; what comes after it is not read.
_READ_MAX = 200


def preferred(header: str, choices: Sequence[str]) -> str:
    """Return the choice with the highest weight: the first of equals, and the first choice where none fits.

    A choice is what the header's values begin with, such as ``zh`` or ``text/csv``.
    """
    best, weight = choices[0], 0.0
    for value, quality in _weights(header[:_READ_MAX]):
        if value in choices and quality > weight:
            best, weight = value, quality
    return best


def _weights(header: str) -> Iterator[tuple[str, float]]:
    for part in header.split(","):
        value, _, parameter = part.strip().partition(";")
        match = _WEIGHT.fullmatch(parameter.strip())
        language_or_type = value.strip().lower()
        quality = float(match[1] or 1) if match else 0.0
        yield language_or_type if "/" in language_or_type else language_or_type.partition("-")[0], quality
