"""The side that a shop has already, for ``paybell demo --side``: it knows Paybell by messages and HTTP only.

What each needs to know stands in `docs/how-to/take-over.md` and in `docs/pay-service.md`.
"""

import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

from aiohttp import web

from paybell.clock import Clock, rfc3339
from paybell.errors import BrokerUnavailable, NotAuthenticated
from paybell.messaging.broker import Broker, Message
from paybell.messaging.events import PAY_DIRECT, PAY_SUCCESS, TRADE_QUEUE
from paybell.tokens import Tokens

UNPAID, PAID = "UNPAID", "PAID"
_AT_ONCE = 100
_PAUSE_SECONDS = 0.1


class OwnOrders:
    """An order service with a status for each order, and a listener that marks an unpaid one paid."""

    def __init__(self) -> None:
        """Begin without orders."""
        self.statuses: dict[int, str] = {}
        self.marked: Counter[int] = Counter()

    async def listen(self, broker: Broker, clock: Clock) -> None:
        """Take bare order numbers until cancelled; subscribe again whenever a subscription ends."""
        while True:
            with suppress(BrokerUnavailable):
                async with broker.consume(TRADE_QUEUE, _AT_ONCE) as consumer:
                    while True:
                        deliveries = await consumer.receive(_AT_ONCE)
                        for one in deliveries:
                            self._mark(int(one.body))
                        await consumer.acknowledge(deliveries)
            await clock.sleep(_PAUSE_SECONDS)

    def _mark(self, number: int) -> None:
        if self.statuses.get(number) == UNPAID:  # a message may come twice
            self.statuses[number] = PAID
            self.marked[number] += 1


class OwnPayService:
    """A pay service that keeps to `docs/pay-service.md`; its pay orders are in memory, by order number."""

    def __init__(self, tokens: Tokens, broker: Broker, clock: Clock) -> None:
        """Verify Paybell's tokens with these, and publish at this broker what was paid."""
        self.orders: dict[str, dict[str, Any]] = {}
        self._tokens = tokens
        self._broker = broker
        self._clock = clock

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve it at a free port of the loopback; yield its URL."""
        app = web.Application(middlewares=[self._only_paybell])
        app.router.add_post("/pay-orders", self._apply)
        app.router.add_get("/pay-orders", self._ask)
        app.router.add_post("/pay-orders/{id}/close", self._close)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def pay(self, number: str) -> None:
        """Take the money, wherever that is, and publish the bare order number, unsigned."""
        now = self._clock.now()
        self.orders[number] |= {"status": "TRADE_SUCCESS", "version": 2, "succeededAt": rfc3339(now)}
        message = Message(
            PAY_DIRECT.name,
            PAY_SUCCESS,
            number.encode(),
            secrets.token_hex(8),
            "text/plain",
            PAY_SUCCESS,
            now,
        )
        await self._broker.publish([message], 10.0)

    @web.middleware
    async def _only_paybell(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            self._tokens.verify(request.headers.get("Authorization", "").removeprefix("Bearer "))
        except NotAuthenticated:
            return web.json_response({"code": "not_authenticated"}, status=401)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _apply(self, request: web.Request) -> web.Response:
        asked, now = await request.json(), self._clock.now()
        fresh = {
            **asked,
            "payOrderId": asked["bizOrderNo"],
            "merchantId": "1",
            "status": "WAIT_BUYER_PAY",
            "version": 1,
            "createdAt": rfc3339(now),
            "expiresAt": rfc3339(now + timedelta(hours=2)),
        }
        order = self.orders.setdefault(asked["bizOrderNo"], fresh)
        return web.json_response({"payOrderId": order["payOrderId"]}, status=201)

    async def _ask(self, request: web.Request) -> web.Response:
        numbers = request.query["bizOrderNos"].split(",")
        return web.json_response({"payOrders": [self.orders[one] for one in numbers if one in self.orders]})

    async def _close(self, request: web.Request) -> web.Response:
        order = self.orders[request.match_info["id"]]
        if order["status"] == "TRADE_SUCCESS":
            return web.json_response({"code": "already_paid"}, status=409)
        order |= {"status": "TRADE_CLOSED", "version": 2, "closedAt": rfc3339(self._clock.now())}
        return web.json_response({})
