"""Identifiers: 63 bits, ordered by time, unique without asking anybody.

Layout as in Twitter's Snowflake: 41 bits of milliseconds since 2024, 10 bits of node,
12 bits of sequence. The node number comes from a cycling sequence of the database the ids
are stored in, so two processes share one only if 1,024 others were started in between.
"""

import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Protocol

from paybell.clock import Clock
from paybell.errors import InvalidId

_EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
_SEQUENCE_MASK = (1 << 12) - 1
NODES = 1 << 10
ID_MAX = (1 << 63) - 1
# How many one request may name, in paths that read many at once.
IDS_MAX = 200
# How far apart identifiers are that were made a minute apart.
ID_MINUTE = 60_000 << 22
_DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)


class Ids(Protocol):
    """A source of identifiers."""

    def next(self) -> int:
        """Return a number from 1 to 2^63-1 that was never returned before."""
        ...


class SnowflakeIds:
    """Identifiers from a clock, a node number and a sequence."""

    def __init__(self, clock: Clock, node: int) -> None:
        """Take ``node`` from 0 to 1023, unique among the processes running now."""
        assert 0 <= node < NODES
        self._clock = clock
        self._node = node << 12
        self._last = 0

    def next(self) -> int:
        """Return the next identifier; a clock that steps back is waited out by counting on."""
        millis = _millis(self._clock.now())
        # The last step is (millis << 12 | sequence); an overflowing sequence borrows from the future.
        self._last = max(self._last + 1, millis << 12)
        return ((self._last >> 12) << 22) | self._node | (self._last & _SEQUENCE_MASK)


def first_id(moment: datetime) -> int:
    """Return the least identifier made at this moment or later; 0 for moments before 2024."""
    return max(0, _millis(moment) << 22)


def _millis(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def parse_id(text: str) -> int:
    """Read an identifier from its decimal form.

    Raises:
        InvalidId: not plain digits, or not from 1 to 2^63-1.
    """
    if not (_DIGITS.fullmatch(text) and 1 <= int(text) <= ID_MAX):
        raise InvalidId
    return int(text)


def new_traceparent() -> str:
    """Return a fresh W3C Trace Context header value that asks for no sampling."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
