"""When orders become PAID, as a cashier page sees it: over trade's event stream of each.

Polling the database every few milliseconds costs what it measures, and the queue of a second consumer tells
that an event came, not that the order is marked. The streams are opened before the first payment leaves, so
that what is added while it is measured is a few bytes for each order that is watched, and what trade does
for any page that waits.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

# Of the thousand that one process of trade holds open; it reads what is watched four times a second.
WATCHED_MAX = 400
_OPEN_SECONDS = 20.0
_ARRIVAL_SECONDS = 30.0
_TICK_SECONDS = 0.001
_STATUS, _PAID = b'"status":"', b'"status":"PAID"'


class _Stream(asyncio.Protocol):
    """Follows one order."""

    def __init__(self, head: str) -> None:
        self._request = f"{head}\r\n\r\n".encode()
        self._last = b""
        self.open, self.paid = asyncio.Event(), asyncio.Event()
        self.paid_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the order's events."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Look for nothing but the status."""
        data = self._last + data
        if _STATUS in data:
            self.open.set()
        if _PAID in data and not self.paid_at:
            self.paid_at = time.monotonic()
            self.paid.set()
        self._last = data[-len(_PAID) :]


class Watch:
    """Follows some orders, by the index of the request that pays each."""

    def __init__(self) -> None:
        self._streams: dict[int, _Stream] = {}

    async def open(self, port: int, orders: Mapping[int, tuple[int, str]]) -> None:
        """Follow orders, by index: number and the buyer's bearer token; return when all are being told of.

        Raises:
            TimeoutError: one is not.
        """
        loop = asyncio.get_running_loop()
        for index, (number, token) in orders.items():
            head = f"GET /orders/{number}/events HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: {token}"
            _, stream = await loop.create_connection(partial(_Stream, head), "127.0.0.1", port)
            self._streams[index] = stream
            await asyncio.sleep(_TICK_SECONDS)
        async with asyncio.timeout(_OPEN_SECONDS):
            for stream in self._streams.values():
                await stream.open.wait()

    async def delays(self, answered_at: Sequence[float]) -> list[float]:
        """Return the seconds from the answer to PAID of each payment that was answered; 0: before it.

        Args:
            answered_at: when each request was answered 200, by index; 0: it was not.

        Raises:
            TimeoutError: an order is not marked.
        """
        paid = {index: stream for index, stream in self._streams.items() if answered_at[index]}
        async with asyncio.timeout(_ARRIVAL_SECONDS):
            for stream in paid.values():
                await stream.paid.wait()
        for stream in self._streams.values():
            stream.transport.close()
        return [max(0.0, stream.paid_at - answered_at[index]) for index, stream in paid.items()]


def chosen(first: int, count: int) -> range:
    """Return which of ``count`` requests from the first on are watched, evenly."""
    return range(first, first + count, -(-count // WATCHED_MAX) or 1)
