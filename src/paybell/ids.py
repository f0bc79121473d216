"""Identifiers: 63 bits, ordered by time, unique without asking anybody.

Layout as in Twitter's Snowflake: 41 bits of milliseconds since 2024, 10 bits of node,
12 bits of sequence. The node number is lent by the database the ids are stored in
(`paybell.storage.node_numbers`), so no two living processes share one.
"""

import math
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Protocol

from paybell.clock import Clock
from paybell.errors import InvalidId, Unavailable

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

    def __init__(self, clock: Clock, node: int, valid_until: float = math.inf) -> None:
        self._clock = clock
        self._last = 0
        self.use(node, valid_until)

    def use(self, node: int, valid_until: float) -> None:
        """Use ``node`` (0 to 1023), ours alone until the clock's monotonic second ``valid_until``."""
        assert 0 <= node < NODES
        self._node = node << 12
        self._valid_until = valid_until

    def next(self) -> int:
        """Return the next identifier; a clock that steps back is waited out by counting on.

        Raises:
            Unavailable: the node number may be another process's by now.
        """
        if self._clock.monotonic() >= self._valid_until:
            raise Unavailable("This process may not make ids until its database can be reached again.")
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
