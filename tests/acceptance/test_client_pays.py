"""The client package pays at a whole service, over a way that loses answers, says no and breaks."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from paybell_client import (
    InsufficientBalance,
    InsufficientScope,
    NotAuthenticated,
    NotConfirmed,
    NotFound,
    NotTheirs,
    OrderCancelled,
    PaybellClient,
    PayOrderClosed,
    RefundExceedsPayment,
    TermsDiffer,
    Unavailable,
    WalletExists,
    WrongPayPassword,
)
from serving import Client, fresh_number, fresh_user, lasting
from support import PASSWORD

README = (Path(__file__).parents[2] / "client" / "README.md").read_text()
pytestmark = pytest.mark.asyncio(loop_scope="session")


class Way:
    """A proxy between client and service; ``faults`` are what becomes of the next requests, first to last.

    ``lost``: the service does it, and its answer never arrives. ``down``: the proxy has no service.
    A number: busy, come back after so many seconds.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        """Use `way_to`."""
        self._session = session
        self._service = url
        self.url = ""
        self.faults: list[str | int] = []
        self.streams = True
        self.tokens: list[str] = []
        self.asked: list[str] = []

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """Take one request."""
        self.tokens.append(request.headers["Authorization"])
        self.asked.append(request.path)
        fault = self.faults.pop(0) if self.faults else ""
        if request.path.endswith("/events"):
            return await self._stream(request)
        if fault == "down":
            return web.Response(status=502, text="<html>Bad gateway</html>")
        if isinstance(fault, int):
            return web.Response(status=503, headers={"Retry-After": str(fault)})
        headers = {name: value for name, value in request.headers.items() if name != "Host"}
        async with self._session.request(
            request.method, self._service + request.path_qs, data=await request.read(), headers=headers
        ) as answer:
            content = await answer.read()
            if fault == "lost":
                assert request.transport
                request.transport.abort()
            return web.Response(status=answer.status, body=content, content_type=answer.content_type)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if not self.streams:
            return web.Response(status=429)
        there = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        headers = {"Authorization": request.headers["Authorization"]}
        async with self._session.get(self._service + request.path, headers=headers) as answer:
            await there.prepare(request)
            async for piece in answer.content.iter_any():
                await there.write(piece)
        return there


@asynccontextmanager
async def way_to(url: str) -> AsyncIterator[Way]:
    """Open a proxy in front of a service."""
    async with aiohttp.ClientSession() as session:
        way = Way(session, url)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", way.pass_on)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            way.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield way
        finally:
            await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="session")
async def way(http: Client) -> AsyncIterator[Way]:
    """A way to the shared service."""
    async with way_to(http.url) as proxy:
        yield proxy


@pytest_asyncio.fixture(loop_scope="session")
async def shop(http: Client, way: Way) -> AsyncIterator[PaybellClient]:
    """A shop's backend that goes this way; it gives up after 3 s."""
    async with PaybellClient.open(way.url, http.shop, retry_seconds=3) as client:
        yield client


async def test_the_first_payment_of_the_readme_is_made(http: Client) -> None:
    user = fresh_user()
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program.replace('"7"', f'"{user}"').replace("welcome-7", f"welcome-{user}")),
        env=os.environ | {"SHOP_PAY_URL": http.url, "SHOP_TOKEN": http.shop, "BUYER_TOKEN": http.token(user)},
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()

    assert process.returncode == 0
    assert re.fullmatch(r"\d+ is PAID, 1234 CNY\n", said.decode())
    assert await http.balance(user) == 5000 - 1234


async def test_what_is_done_by_a_call_whose_answers_are_lost_is_done_once(
    http: Client, way: Way, shop: PaybellClient
) -> None:
    """Neither key nor order id was given: each call keeps its own for all its tries."""
    user = fresh_user()
    await shop.open_wallet(user, PASSWORD)
    way.faults = ["lost", "lost"]
    assert (await shop.top_up(user, 500)).balance == 500
    way.faults = ["lost"]
    order = await shop.create_order(user, 300, subject="Tea")
    assert order.pay_order_id
    way.faults = ["lost"]
    paid = await shop.acting_as(http.token(user)).pay(order.pay_order_id, PASSWORD)
    await shop.wait_for_order(order.id)
    way.faults = ["lost", "lost"]
    refund = await shop.refund(paid.id, 100, "Half was broken")

    assert (paid.is_paid, refund.status, refund.refunded_amount) == (True, "SUCCEEDED", 100)
    assert [one.refund_id for one in await shop.read_refunds(paid.id)] == [refund.refund_id]
    assert (await shop.read_wallet(user)).balance == 500 - 300 + 100
    listed = (await http.get(f"/orders?buyerId={user}", http.shop)).json["orders"]
    assert [one["id"] for one in listed] == [order.id]


async def test_the_same_key_handed_in_again_moves_money_once(shop: PaybellClient) -> None:
    user = fresh_user()
    await shop.open_wallet(user, PASSWORD)

    first, second = [await shop.top_up(user, 5, reference="bank 1", idempotency_key="k") for _ in range(2)]

    assert first == second
    assert (await shop.read_wallet(user)).balance == 5


async def test_a_pause_that_is_asked_for_is_kept_and_one_that_is_too_long_is_told_at_once(
    way: Way, shop: PaybellClient
) -> None:
    user, loop = fresh_user(), asyncio.get_running_loop()
    way.faults = [1]
    began = loop.time()
    await shop.open_wallet(user, PASSWORD)
    assert loop.time() - began >= 1

    way.faults = [60]
    async with lasting(2):
        with pytest.raises(Unavailable, match=r"longer than 3 s \(it answers http_503\)"):
            await shop.read_wallet(user)


async def test_a_service_that_stays_away_is_given_up_in_time_and_one_that_comes_back_is_not(
    way: Way, shop: PaybellClient
) -> None:
    user = fresh_user()
    way.faults = ["down", "down", "down"]
    await shop.open_wallet(user, PASSWORD)

    way.faults = ["down"] * 100
    async with lasting(8):
        with pytest.raises(Unavailable, match="http_502") as given_up:
            await shop.read_wallet(user)
    way.faults = []
    assert given_up.value.code == "unavailable"


async def test_a_token_is_asked_for_before_every_try(http: Client, way: Way) -> None:
    user = fresh_user()
    asked = list[str]()

    def token() -> str:
        asked.append(http.token("shop", "wallets:write", str(len(asked))))
        return asked[-1]

    way.faults = ["down", "lost"]
    async with PaybellClient.open(way.url, token) as shop:
        with pytest.raises(WalletExists):  # the try without an answer has opened it
            await shop.open_wallet(user, PASSWORD)

    assert len(set(asked)) == 3
    assert way.tokens == [f"Bearer {one}" for one in asked]


async def test_refusals_have_their_classes(http: Client, shop: PaybellClient) -> None:
    user = fresh_user()
    buyer = shop.acting_as(http.token(user))
    await shop.open_wallet(user, PASSWORD)
    await shop.top_up(user, 100)
    paid, dear = [await shop.apply_for_pay_order(fresh_number(), user, amount) for amount in (60, 1000)]

    with pytest.raises(WrongPayPassword) as wrong:
        await buyer.pay(paid.id, "000000")
    assert wrong.value.tries_left > 0
    await buyer.pay(paid.id, PASSWORD)
    with pytest.raises(InsufficientBalance):
        await buyer.pay(dear.id, PASSWORD)
    with pytest.raises(TermsDiffer):
        await shop.apply_for_pay_order(dear.biz_order_no, user, 999)
    with pytest.raises(NotTheirs):
        await shop.acting_as(http.token("somebody")).pay(dear.id, PASSWORD)
    with pytest.raises(InsufficientScope):
        await buyer.refund(paid.id, 1)
    with pytest.raises(RefundExceedsPayment) as more:
        await shop.refund(paid.id, 61)
    assert more.value.refundable_amount == 60
    with pytest.raises(NotFound):
        await shop.read_order(fresh_number())
    with pytest.raises(NotAuthenticated):
        await shop.acting_as("nonsense").read_pay_order(paid.id)
    assert (await shop.close_pay_order(dear.id)).status == "TRADE_CLOSED"
    with pytest.raises(PayOrderClosed):
        await shop.wait_for_pay_order(dear.id)


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "asking"])
async def test_a_wait_ends_when_the_order_is_confirmed_cancelled_or_its_time_is_over(
    http: Client, way: Way, shop: PaybellClient, *, streams: bool
) -> None:
    """With the order's event stream, and where a proxy lets none through."""
    user, way.streams = fresh_user(), streams
    await http.fund(user, 100)
    order, other = [await shop.create_order(user, 100) for _ in range(2)]
    assert order.pay_order_id

    with pytest.raises(NotConfirmed) as early:
        await shop.wait_for_order(order.id, seconds=0.3)
    waiting = [asyncio.create_task(shop.wait_for_order(one.id)) for one in (order, other)]
    at_pay = asyncio.create_task(shop.wait_for_pay_order(order.pay_order_id))
    await shop.acting_as(http.token(user)).pay(order.pay_order_id, PASSWORD)
    await shop.cancel_order(other.id)

    assert early.value.status == "UNPAID"
    assert (await waiting[0]).status == "PAID"
    assert (await at_pay).status == "TRADE_SUCCESS"
    assert (f"/orders/{order.id}" in way.asked) is not streams  # it is read only where it cannot be followed
    with pytest.raises(OrderCancelled):
        await waiting[1]
    assert [one.id for one in await shop.read_orders([order.id, fresh_number()])] == [order.id]


async def test_a_wait_outlives_an_outage_and_ends_in_one_that_lasts(way: Way, shop: PaybellClient) -> None:
    way.streams = False
    user = fresh_user()
    order = await shop.create_order(user, 100)
    way.faults = ["down"] * 1000

    async with lasting(8):
        with pytest.raises(NotConfirmed, match="did not answer") as over:
            await shop.wait_for_order(order.id, seconds=4)
    assert over.value.status == ""
    waiting = asyncio.create_task(shop.wait_for_order(order.id))
    way.faults = ["down"] * 4
    await shop.cancel_order(order.id)
    with pytest.raises(OrderCancelled):
        await waiting


async def test_what_is_no_service_is_told() -> None:
    with pytest.raises(ValueError, match="http"):
        async with PaybellClient.open("ftp://pay", "token"):
            pass
