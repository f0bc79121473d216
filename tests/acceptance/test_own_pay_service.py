"""Paybell's order service on a pay service that knows nothing but ``docs/pay-service.md``."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
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
from serving import SETTINGS, Client, Reply, fresh_databases, fresh_number, fresh_user, in_process
from support import Databases, until

from paybell.clock import SystemClock
from paybell.errors import PaybellError
from paybell.messaging.events import PAY_DIRECT, PAY_SUCCESS, topology, trade_topology
from paybell.tokens import Tokens
from paybell.trade.pay_client import PayClient

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class OwnPayService:
    """Pay orders in a dictionary, by business order number."""

    def __init__(self, batch: str = "none") -> None:
        """Begin without any order; ``batch``: how ``POST /pay-orders/batch`` is answered."""
        self.orders: dict[str, dict[str, Any]] = {}
        self.claims: dict[str, Any] = {}
        self.batch = batch
        self.asked: list[int] = []  # how many orders each application was for
        self.busy = asyncio.Event()
        self.busy.set()

    def routes(self) -> web.Application:
        """Return what the page lists."""
        app = web.Application()
        app.router.add_post("/pay-orders", self.apply)
        if self.batch == "405":  # there is something else at this address
            app.router.add_get("/pay-orders/{id}", self.ask)
        elif self.batch != "none":
            app.router.add_post("/pay-orders/batch", self.apply_for_many)
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
        self.asked.append(1)
        await self.busy.wait()
        return web.json_response({"payOrderId": self._apply(await request.json())}, status=201)

    async def apply_for_many(self, request: web.Request) -> web.Response:
        """Do so for each; once, the answer is lost."""
        self._read_token(request)
        applications = (await request.json())["payOrders"]
        self.asked.append(len(applications))
        await self.busy.wait()
        answers = [self._answer(one) for one in applications]
        if self.batch == "lost":
            self.batch = "offered"
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"answers": answers})

    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        if body["subject"] == "closed":
            return {"status": 409, "problem": {"code": "pay_order_closed"}}
        return {"status": 201, "payOrder": {"payOrderId": self._apply(body)}}

    def _apply(self, body: dict[str, Any]) -> str:
        fresh = {
            **body,
            "payOrderId": str(10_000 + len(self.orders)),
            "merchantId": "1",
            "status": "WAIT_BUYER_PAY",
            "version": 1,
            "createdAt": NOW.isoformat(),
            "expiresAt": (datetime.now(UTC) + timedelta(hours=2)).isoformat(),
        }
        number: str = self.orders.setdefault(body["bizOrderNo"], fresh)["payOrderId"]
        return number

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


@asynccontextmanager
async def order_service(postgres: Databases, own: OwnPayService) -> AsyncIterator[Client]:
    """Run an order service of ours on this pay service."""
    async with running(own.routes()) as pay_url:
        settings = replace(SETTINGS, pay_url=pay_url)
        urls = await fresh_databases(postgres)
        async with in_process(urls, settings, frozenset({"background", "trade"})) as service:
            yield service.client


async def orders_at_once(client: Client, own: OwnPayService, *subjects: str) -> list[Reply]:
    """Create an order, and while pay thinks about it many more."""
    own.asked.clear()
    own.busy.clear()

    def order(subject: str) -> Coroutine[None, None, Reply]:
        body = {"orderId": str(fresh_number()), "buyerId": "7", "totalFee": 100, "subject": subject}
        return client.post("/orders", client.shop, body)

    first = asyncio.create_task(order(""))

    async def first_is_asked_for() -> bool:
        return bool(own.asked)

    await until(first_is_asked_for)
    rest = [asyncio.create_task(order(subject)) for subject in subjects]

    async def rest_are_written() -> bool:
        found = (await client.get("/orders?limit=200", client.shop)).json["orders"]
        return sum(one["payOrderId"] is None for one in found) > len(subjects)

    await until(rest_are_written)
    own.busy.set()
    return [await one for one in (first, *rest)]


async def test_orders_that_come_meanwhile_are_applied_for_together_and_one_refused_fails_alone(
    postgres: Databases,
) -> None:
    own = OwnPayService("offered")
    async with order_service(postgres, own) as client:
        replies = await orders_at_once(client, own, *["book"] * 20, "closed", *["pen"] * 20)

    assert own.asked == [1, 41]
    assert [reply.status for reply in replies] == [201] * 21 + [409] + [201] * 20
    assert replies[21].refusal == (409, "pay_order_closed")
    assert {own.orders[reply.json["id"]]["payOrderId"] for reply in replies if reply.status == 201} == {
        reply.json["payOrderId"] for reply in replies if reply.status == 201
    }


@pytest.mark.parametrize("batch", ["none", "405"])
async def test_where_pay_takes_no_batches_each_order_is_applied_for_by_itself(
    postgres: Databases, batch: str
) -> None:
    own = OwnPayService(batch)
    async with order_service(postgres, own) as client:
        for _ in range(2):
            replies = await orders_at_once(client, own, *["book"] * 20)
            assert own.asked == [1] * 21
            assert {reply.status for reply in replies} == {201}


async def test_a_lost_answer_of_a_batch_is_asked_for_again_and_makes_no_second_pay_order(
    postgres: Databases,
) -> None:
    own = OwnPayService("lost")
    async with order_service(postgres, own) as client:
        replies = await orders_at_once(client, own, *["book"] * 20)
        assert [reply.refusal for reply in replies[1:]] == [(503, "pay_service_unavailable")] * 20
        made = {number: order["payOrderId"] for number, order in own.orders.items()}
        assert len(made) == 21
        for number, pay_order_id in made.items():
            body = {"orderId": number, "buyerId": "7", "totalFee": 100}
            again = await client.post("/orders", client.shop, body)
            assert (again.status, again.json["payOrderId"]) == (200, pay_order_id)


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
