"""QR codes as the page draws them."""

from functools import lru_cache
from typing import NamedTuple

import segno

# Light modules on each side, without which scanners do not find a code (ISO/IEC 18004).
_QUIET = 4


class QrShape(NamedTuple):
    """A QR code: a square of ``side`` modules with its quiet zone; ``path`` fills the dark ones."""

    side: int
    path: str


# A code is drawn again whenever its buyer opens the page, in a few ms of pure Python.
@lru_cache(maxsize=512)
def qr_shape(text: str) -> QrShape:
    """Return the QR code of a text of up to 2,048 characters, as the ``d`` of an SVG path."""
    rows = segno.make_qr(text, error="l").matrix
    dark = [
        f"M{x + _QUIET} {y + _QUIET}h1v1h-1z"
        for y, row in enumerate(rows)
        for x, bit in enumerate(row)
        if bit
    ]
    return QrShape(len(rows) + 2 * _QUIET, "".join(dark))
