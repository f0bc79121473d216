"""The HTTP load generator: a process of its own that writes prepared bytes and reads as little as it can.

Without a rate each connection sends its next request when the last one is answered, until the time is up.
With one, requests leave at that rate whatever the answers do, and a late one is measured from when it should
have left.
"""

import asyncio
import time
from array import array
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol, cast

import uvloop

from benchmarks.child import Meter, ready, serve
from benchmarks.watching import Watch, chosen

_TICK_SECONDS = 0.001
_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length: "
_WARMUP_SECONDS = 10.0
_OK = 200


class Load:
    """Requests to send, and what became of them."""

    def __init__(self, spec: dict[str, Any]) -> None:
        """Render every request before the first one leaves."""
        tokens = {buyer: f"Bearer {token}" for buyer, token in spec["tokens"].items()}
        body = spec["body"]
        self._tokens, self._buyers = tokens, [buyer for _, buyer in spec["requests"]]
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
        self.sent = self.answers = self.most = 0
        self.refill_until = 0.0
        self._done = asyncio.Event()

    def token_of(self, index: int) -> str:
        """Return the credentials with which a request is sent."""
        return self._tokens[self._buyers[index]]

    def answered(self, connection: "Connection", status: int) -> None:
        """Take an answer down; send the connection's next request if there is to be one."""
        now = time.monotonic()
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.latencies[connection.index] = now - connection.since
        if status == _OK:
            self.answered_at[connection.index] = now
        self.answers += 1
        if self.sent < self.most and now < self.refill_until:
            self._send(connection, now)
        else:
            self.idle.append(connection)
            if self.answers == self.sent:
                self._done.set()

    def lost(self, connection: "Connection") -> None:
        """Count a connection that ended; a request on it got no answer, which is status 0."""
        if connection not in self.idle:
            self.refill_until = 0.0
            self.answered(connection, 0)

    def _send(self, connection: "Connection", since: float) -> None:
        connection.index, connection.since = self.sent, since
        connection.transport.write(self.requests[self.sent])
        self.sent += 1

    async def closed(self, most: int, seconds: float) -> None:
        """Send as fast as is answered, for so long or up to a number of requests; wait for the last."""
        self._done.clear()
        self.most, self.refill_until = most, time.monotonic() + seconds
        while self.idle and self.sent < most:
            self._send(self.idle.popleft(), time.monotonic())
        await self._done.wait()

    async def open(self, rate: float, seconds: float) -> None:
        """Send at a rate per second for so long, and wait for the last answer."""
        self._done.clear()
        self.refill_until = 0.0
        started, first = time.monotonic(), self.sent
        last = min(len(self.requests), first + int(rate * seconds))
        while self.sent < last:
            due = min(last, first + int((time.monotonic() - started) * rate) + 1)
            while self.sent < due and self.idle:
                self._send(self.idle.popleft(), started + (self.sent - first) / rate)
            await asyncio.sleep(_TICK_SECONDS)
        if self.answers < self.sent:
            self._done.clear()
            await self._done.wait()


class Sender(Protocol):
    """What a connection's answers are told."""

    idle: deque["Connection"]

    def answered(self, connection: "Connection", status: int) -> None:
        """Take an answer; the connection is free again."""

    def lost(self, connection: "Connection") -> None:
        """Take note that a connection has ended."""


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on its way; ``answer``: the last, as it came."""

    transport: asyncio.Transport

    def __init__(self, load: Sender) -> None:
        """Serve this load."""
        self._load = load
        self._buffer = self.answer = b""
        self.index, self.since = 0, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready to send."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._load.idle.append(self)

    def data_received(self, data: bytes) -> None:
        """Look for the end of the answer, and at nothing of it but status and length."""
        data = self._buffer + data if self._buffer else data
        head = data.find(_END_OF_HEAD)
        at = data.find(_LENGTH, 0, head) if head >= 0 else -1
        if at >= 0:
            length = int(data[at + len(_LENGTH) : data.index(b"\r\n", at)])
            if len(data) >= head + len(_END_OF_HEAD) + length:
                self._buffer, self.answer = b"", data
                self._load.answered(self, int(data[9:12]))
                return
        self._buffer = data

    def connection_lost(self, error: Exception | None) -> None:
        """Tell what it was in the middle of."""
        del error
        self._load.lost(self)


async def main(spec: dict[str, Any]) -> dict[str, object]:
    """Connect, warm up, wait for the word, send, report."""
    load, loop = Load(spec), asyncio.get_running_loop()
    for _ in range(spec["connections"]):
        # One after the other, so that workers who share a port get their share.
        await loop.create_connection(lambda: Connection(load), spec["host"], spec["port"])
        await asyncio.sleep(_TICK_SECONDS)
    if spec["warmup"]:
        await load.closed(spec["warmup"], _WARMUP_SECONDS)
    first, load.statuses, watch = load.sent, {}, Watch()
    if "watch" in spec:
        orders = spec["watch"]["orders"]
        most = min(int(spec["rate"] * spec["seconds"]), len(orders) - first)
        watched = {index: (orders[index], load.token_of(index)) for index in chosen(first, most)}
        await watch.open(spec["watch"]["port"], watched)
    await ready()
    meter = Meter()
    if "rate" in spec:
        await load.open(spec["rate"], spec["seconds"])
    else:
        await load.closed(len(load.requests), spec["seconds"])
    report = meter.report(statuses={str(status): count for status, count in load.statuses.items()})
    if "watch" in spec:
        report["toPaidMs"] = spread(await watch.delays(load.answered_at))
    for connection in load.idle:
        connection.transport.close()
    return report | {"warm": first, "answerMs": spread(load.latencies[first : load.sent])}


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Return how many there are, and their median and 99th percentile in milliseconds."""
    ordered = sorted(seconds) or [0.0]
    middle, most = (ordered[int(len(ordered) * share)] * 1e3 for share in (0.5, 0.99))
    return {"count": len(seconds), "p50": middle, "p99": most}


if __name__ == "__main__":
    uvloop.run(serve(main))
