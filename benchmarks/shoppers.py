"""The load generator of whole purchases: each shopper creates an order, reads its number, pays it, and so on.

As in `benchmarks.load`, what can be prepared is, and as little is read as will do.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import uvloop

from benchmarks.child import Meter, ready, serve
from benchmarks.load import Connection

_TICK_SECONDS = 0.001
_WARMUP_SECONDS = 60.0
_PAY_ORDER_ID = b'"payOrderId":"'


@dataclass(slots=True)
class _Shopper:
    """One connection to each of the two services, and whose token is sent."""

    ordering: Connection
    paying: Connection
    buyer: str


class Purchases:
    """Purchases on their way, and how many were made."""

    def __init__(self, spec: dict[str, Any]) -> None:
        """Render what is sent for each buyer."""
        self.idle: deque[Connection] = deque()
        self.sent = self.paid = self.under_way = 0
        self.refused: dict[str, int] = {}
        self._orders = {
            buyer: _request("/orders", spec["shop"], body) for buyer, body in spec["bodies"].items()
        }
        self._tokens: dict[str, str] = spec["tokens"]
        self._payment: str = spec["payment"]
        self._buyers: list[str] = list(spec["bodies"])
        self._shoppers: dict[Connection, _Shopper] = {}
        self._until = 0.0
        self._most = 0
        self._done = asyncio.Event()

    def seat(self, shopper: _Shopper) -> None:
        """Let a shopper in."""
        self._shoppers[shopper.ordering] = self._shoppers[shopper.paying] = shopper

    def leave(self) -> None:
        """Close every connection."""
        for connection in self._shoppers:
            connection.transport.close()

    async def buy(self, most: int, seconds: float) -> None:
        """Let every shopper buy again and again for so long, or up to a number of purchases in all."""
        self._done.clear()
        self._most, self._until = self.sent + most, time.monotonic() + seconds
        for connection, shopper in self._shoppers.items():
            if connection is shopper.ordering:
                self._begin(shopper)
        await self._done.wait()

    def answered(self, connection: Connection, status: int) -> None:
        """Pay the order that was created; begin the next one when it is paid."""
        shopper, answer = self._shoppers[connection], connection.answer
        if connection is shopper.ordering and status == 201:
            at = answer.index(_PAY_ORDER_ID) + len(_PAY_ORDER_ID)
            number = answer[at : answer.index(b'"', at)].decode()
            path, token = f"/pay-orders/{number}/pay", self._tokens[shopper.buyer]
            shopper.paying.transport.write(_request(path, token, self._payment))
            return
        if connection is shopper.paying and status == 200:
            self.paid += 1
        else:
            name = f"{'order' if connection is shopper.ordering else 'pay'} {status}"
            self.refused[name] = self.refused.get(name, 0) + 1
        self.under_way -= 1
        self._begin(shopper)

    def lost(self, connection: Connection) -> None:
        """Count a connection that ended in the middle of a purchase."""
        if self.under_way:
            self._until = 0.0
            self.answered(connection, 0)

    def _begin(self, shopper: _Shopper) -> None:
        if self.sent < self._most and time.monotonic() < self._until:
            shopper.buyer = self._buyers[self.sent % len(self._buyers)]
            self.sent += 1
            self.under_way += 1
            shopper.ordering.transport.write(self._orders[shopper.buyer])
        elif not self.under_way:
            self._done.set()


def _request(path: str, token: str, body: str) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def main(spec: dict[str, Any]) -> dict[str, object]:
    """Connect, warm up, wait for the word, buy, report."""
    purchases, loop = Purchases(spec), asyncio.get_running_loop()
    for _ in range(spec["shoppers"]):
        pair: list[Connection] = []
        for port in spec["ports"]:
            await loop.create_connection(lambda: Connection(purchases), "127.0.0.1", port)
            pair.append(purchases.idle.pop())
            await asyncio.sleep(_TICK_SECONDS)
        purchases.seat(_Shopper(pair[0], pair[1], ""))
    await purchases.buy(spec["warmup"], _WARMUP_SECONDS)
    warm, purchases.paid = purchases.paid, 0
    await ready()
    meter = Meter()
    await purchases.buy(spec["most"], spec["seconds"])
    report = meter.report(paid=purchases.paid, warm=warm, refused=purchases.refused)
    purchases.leave()
    return report


if __name__ == "__main__":
    uvloop.run(serve(main))
