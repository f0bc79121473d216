"""Paybell's order service on a pay service that knows nothing but ``docs/pay-service.md``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import msgspec
import pytest
import structlog
from aiohttp import web
from amqp import stranger
from serving import SETTINGS, fresh_databases, fresh_user, in_process
from support import Databases, until

from paybell.clock import SystemClock
from paybell.errors import PaybellError
from paybell.messaging.events import PAY_DIRECT, PAY_SUCCESS, topology, trade_topology
from paybell.tokens import Tokens
from paybell.trade.pay_client import PayClient

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class OwnPayService:
    """Pay orders in a dictionary, by business order number."""

    def __init__(self) -> None:
        """Begin without any."""
        self.orders: dict[str, dict[str, Any]] = {}
        self.claims: dict[str, Any] = {}

    def routes(self) -> web.Application:
        """Return what the page lists."""
        app = web.Application()
        app.router.add_post("/pay-orders", self.apply)
        app.router.add_get("/pay-orders", self.ask)
        app.router.add_post("/pay-orders/{id}/close", self.close)
        app.router.add_post("/pay-orders/{id}/refunds", self.refund)
        return app

    def _read_token(self, request: web.Request) -> None:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        self.claims = jwt.decode(
            token, SETTINGS.jwt_secret, algorithms=["HS256"], options={"verify_iat": False}
        )

    async def apply(self, request: web.Request) -> web.Response:
        """Make a pay order, or return the one there is."""
        self._read_token(request)
        body = await request.json()
        fresh = {
            **body,
            "payOrderId": str(10_000 + len(self.orders)),
            "merchantId": "1",
            "status": "WAIT_BUYER_PAY",
            "version": 1,
            "createdAt": NOW.isoformat(),
            "expiresAt": (datetime.now(UTC) + timedelta(hours=2)).isoformat(),
        }
        order = self.orders.setdefault(body["bizOrderNo"], fresh)
        return web.json_response({"payOrderId": order["payOrderId"]}, status=201)

    async def ask(self, request: web.Request) -> web.Response:
        """Return those that were asked for."""
        numbers = request.query["bizOrderNos"].split(",")
        return web.json_response({"payOrders": [self.orders[one] for one in numbers if one in self.orders]})

    async def close(self, request: web.Request) -> web.Response:
        """Close one that is not paid."""
        order = self._find(request)
        if order["status"] == "TRADE_SUCCESS":
            return web.json_response({"code": "already_paid"}, status=409)
        order |= {"status": "TRADE_CLOSED", "version": 2, "closedAt": NOW.isoformat()}
        return web.json_response({})

    async def refund(self, request: web.Request) -> web.Response:
        """Give back."""
        assert request.headers["Idempotency-Key"]
        order = self._find(request)
        order["version"] += 1
        order["refundedAmount"] = (await request.json())["amount"]
        answer = {"version": order["version"], "refundedAmount": order["refundedAmount"]}
        return web.json_response(answer, status=201)

    def pay(self, number: str) -> None:
        """Take the money."""
        order = self.orders[number]
        order |= {"status": "TRADE_SUCCESS", "version": order["version"] + 1, "succeededAt": NOW.isoformat()}

    def _find(self, request: web.Request) -> dict[str, Any]:
        wanted = request.match_info["id"]
        return next(order for order in self.orders.values() if order["payOrderId"] == wanted)


@asynccontextmanager
async def running(app: web.Application) -> AsyncIterator[str]:
    """Serve it; yield its URL."""
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.rabbitmq
async def test_an_order_service_of_ours_works_on_a_pay_service_of_others(
    postgres: Databases, rabbitmq_url: str
) -> None:
    """Applied for, paid by a bare unsigned number, cancelled, and given back what came too late."""
    own = OwnPayService()
    with stranger(rabbitmq_url) as outside:
        outside.forget(topology())
        outside.forget(trade_topology())
        async with running(own.routes()) as pay_url:
            settings = replace(SETTINGS, pay_url=pay_url, broker_url=rabbitmq_url)
            urls = await fresh_databases(postgres)
            async with in_process(urls, settings, frozenset({"trade"})) as service:
                client, user = service.client, fresh_user()
                paid, late = [await client.order(user, 100) for _ in range(2)]
                await client.post(f"/orders/{late['id']}/cancel", client.token(user))
                assert own.orders[late["id"]]["status"] == "TRADE_CLOSED"
                for order in (paid, late):
                    own.pay(order["id"])
                    outside.publish(PAY_DIRECT.name, PAY_SUCCESS, order["id"].encode())
                await client.until_order(paid["id"], "PAID")

                async def given_back() -> bool:
                    return own.orders[late["id"]].get("refundedAmount") == 100

                await until(given_back, seconds=30)

    assert own.claims["sub"] == "paybell-trade"
    assert own.claims["scope"] == "pay-orders:write pay-orders:read refunds:write"
    assert "exp" in own.claims
    assert "merchant" not in own.claims


async def test_an_answer_of_another_shape_is_named_and_nothing_is_decided() -> None:
    """As the log says it; whoever asked knows nothing yet."""

    async def answer(request: web.Request) -> web.Response:
        del request
        return web.Response(body=msgspec.json.encode({"payOrders": [{"bizOrderNo": "1"}]}))

    app = web.Application()
    app.router.add_get("/pay-orders", answer)
    clock = SystemClock()
    async with (
        running(app) as url,
        PayClient.open(url, Tokens.from_settings(SETTINGS, clock), clock) as client,
    ):
        with structlog.testing.capture_logs() as logs, pytest.raises(PaybellError):
            await client.states_of([1])

    (line,) = logs
    assert line["event"] == "pay_service_refuses"
    assert "does not keep to the contract of docs/pay-service.md" in line["reason"]
    assert "payOrderId" in line["reason"]
