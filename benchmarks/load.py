"""The HTTP load generator: a process of its own that writes prepared bytes and reads as little as it can.

``closed``: each connection sends its next request when the last one is answered. ``open``: requests leave
at a fixed rate whatever the answers do, and a late one is measured from when it should have left.
"""

import asyncio
import time
from array import array
from collections import deque
from typing import Any

import asyncpg
import uvloop

from benchmarks.child import Meter, answer, read_spec, ready

_TICK_SECONDS = 0.001
_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length: "


class Load:
    """Requests to send, and what became of them."""

    def __init__(self, spec: dict[str, Any]) -> None:
        """Render every request before the first one leaves."""
        tokens = {buyer: f"Bearer {token}" for buyer, token in spec["tokens"].items()}
        body = spec["body"]
        self.requests = [
            (
                f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: {tokens[buyer]}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}"
            ).encode()
            for path, buyer in spec["requests"]
        ]
        self.statuses: dict[int, int] = {}
        self.latencies = array("d", bytes(8 * len(self.requests)))
        self.answered_at = array("d", bytes(8 * len(self.requests)))
        self.idle: deque[Connection] = deque()
        self.next = self.end = 0
        self.left = 0
        self.refill = True
        self.done = asyncio.Event()

    def answered(self, connection: "Connection", status: int) -> None:
        now = time.monotonic()
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.latencies[connection.index] = now - connection.since
        self.answered_at[connection.index] = now
        self.left -= 1
        if self.left == 0:
            self.done.set()
        if self.refill and self.next < self.end:
            self.send(connection, now)
        else:
            self.idle.append(connection)

    def send(self, connection: "Connection", since: float) -> None:
        connection.index, connection.since = self.next, since
        connection.transport.write(self.requests[self.next])
        self.next += 1

    async def closed(self, count: int) -> None:
        """Send the next ``count`` requests as fast as they are answered."""
        self._begin(count, refill=True)
        while self.idle and self.next < self.end:
            self.send(self.idle.popleft(), time.monotonic())
        await self.done.wait()

    async def open(self, count: int, rate: float) -> None:
        """Send the next ``count`` requests at a rate per second."""
        self._begin(count, refill=False)
        first, started = self.next, time.monotonic()
        while self.next < self.end:
            due = min(self.end, first + int((time.monotonic() - started) * rate))
            while self.next < due and self.idle:
                self.send(self.idle.popleft(), started + (self.next - first) / rate)
            await asyncio.sleep(_TICK_SECONDS)
        await self.done.wait()

    def _begin(self, count: int, *, refill: bool) -> None:
        self.end, self.left, self.refill = self.next + count, count, refill
        self.done.clear()


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on its way."""

    transport: asyncio.Transport

    def __init__(self, load: Load) -> None:
        """Serve this load."""
        self._load = load
        self._buffer = b""
        self.index, self.since = 0, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._load.idle.append(self)

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data if self._buffer else data
        head = data.find(_END_OF_HEAD)
        at = data.find(_LENGTH, 0, head) if head >= 0 else -1
        if at >= 0:
            length = int(data[at + len(_LENGTH) : data.index(b"\r\n", at)])
            if len(data) >= head + len(_END_OF_HEAD) + length:
                self._buffer = b""
                self._load.answered(self, int(data[9:12]))
                return
        self._buffer = data

    def connection_lost(self, error: Exception | None) -> None:
        if self._load.left:  # an answer that never comes counts as what it is
            self._load.answered(self, 0)


class Watch:
    """Looks at every nth order from its answer on until trade shows it paid."""

    def __init__(self, load: Load, spec: dict[str, Any]) -> None:
        """Watch orders by the ids in ``spec``."""
        self._load = load
        self._spec = spec
        self.seconds: list[float] = []

    async def run(self, first: int, count: int) -> None:
        """Watch the requests from ``first`` on; what is seen is late by up to a tick and a query."""
        waiting = {self._spec["orders"][i]: i for i in range(first, first + count, self._spec["every"])}
        connection = await asyncpg.connect(self._spec["url"])
        while waiting:
            asked = [order for order, i in waiting.items() if self._load.answered_at[i]]
            if asked:
                rows = await connection.fetch(
                    "SELECT id FROM orders WHERE id = ANY($1::bigint[]) AND status = 'PAID'", asked
                )
                now = time.monotonic()
                self.seconds += [now - self._load.answered_at[waiting.pop(row["id"])] for row in rows]
            await asyncio.sleep(_TICK_SECONDS)
        await connection.close()


async def main(spec: dict[str, Any]) -> dict[str, object]:
    """Warm up, wait for the word, send, report."""
    load, loop = Load(spec), asyncio.get_running_loop()
    for _ in range(spec["connections"]):
        # One after the other, so that workers who share a port get their share.
        await loop.create_connection(lambda: Connection(load), spec["host"], spec["port"])
        await asyncio.sleep(_TICK_SECONDS)
    if spec["warmup"]:
        await load.closed(spec["warmup"])
    warm, load.statuses = load.next, {}
    watch = Watch(load, spec["watch"]) if "watch" in spec else None
    await ready()
    meter = Meter()
    count = len(load.requests) - warm
    watching = asyncio.create_task(watch.run(warm, count)) if watch else None
    async with asyncio.timeout(spec["timeout"]):
        await (load.open(count, spec["rate"]) if spec.get("rate") else load.closed(count))
    report = meter.report(statuses={str(status): n for status, n in load.statuses.items()})
    if watching and watch:
        await asyncio.wait_for(watching, 30)
        report["toPaid"] = watch.seconds
    return report | {"latencies": list(load.latencies[warm:])}


if __name__ == "__main__":
    answer(uvloop.run(main(read_spec())))
