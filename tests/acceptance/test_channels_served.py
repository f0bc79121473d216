"""The whole service over the sandbox: an order paid by each channel, and what strangers send as notices."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from serving import SETTINGS, Client, fresh_databases, fresh_user, in_process
from support import Databases

from paybell.clock import SystemClock
from paybell.sandbox.setup import Setup
from paybell.testing.ports import free_port


@pytest.fixture
async def shop(postgres: Databases, tmp_path: Path) -> AsyncIterator[tuple[Client, str]]:
    """A service that offers all channels, and the URL of their sandbox."""
    setup, port = Setup(tmp_path / "keys", SystemClock()), free_port()
    async with setup.sandbox.serving() as url:
        fields: dict[str, Any] = dict(setup.settings(url, f"http://127.0.0.1:{port}"))
        settings = replace(SETTINGS, port=port, **fields)
        async with in_process(await fresh_databases(postgres), settings, port=port) as service:
            yield service.client, url


async def opened(client: Client, channel: str, user: str) -> tuple[str, dict[str, Any]]:
    order = await client.order(user, 1177, subject="tea + 茶")
    path = f"/pay-orders/{order['payOrderId']}/attempts"
    reply = await client.post(path, client.token(user), {"channel": channel})
    assert reply.status == 201, reply.content
    return order["orderId"], reply.json


async def test_an_order_is_paid_by_each_channel(shop: tuple[Client, str]) -> None:
    client, sandbox = shop
    async with aiohttp.ClientSession() as browser:
        for channel in ("alipay", "alipay_page", "wechat", "stripe"):
            number, attempt = await opened(client, channel, fresh_user())
            assert attempt["state"] == "OPEN"
            if attempt["redirectUrl"]:
                async with browser.get(attempt["redirectUrl"]) as page:
                    assert page.status == 200, await page.text()
            else:
                assert attempt["qrCode"]
            async with browser.get(sandbox) as overview:
                [pay, *_] = re.findall(r"/sandbox/\w+/pay/[\w-]+", await overview.text())
            async with browser.post(sandbox + pay, allow_redirects=False) as done:
                assert done.status in {200, 303}
                if "Location" in done.headers:
                    assert done.headers["Location"] == f"{client.url}/cashier/{number}"
            await client.until_order(number, "PAID")


async def test_a_flood_of_notices_is_answered_unread_and_other_channels_go_on(
    shop: tuple[Client, str],
) -> None:
    client, sandbox = shop
    number, attempt = await opened(client, "alipay", fresh_user())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=16)) as session:

        async def strange() -> int:
            async with session.post(f"{client.url}/channels/stripe/notices", data=b"{}") as answer:
                return answer.status

        async def flood() -> None:
            while True:
                assert 200 not in await asyncio.gather(*(strange() for _ in range(100)))

        flooding = asyncio.create_task(flood())
        bought = {"number": attempt["attemptId"]}
        async with session.post(f"{sandbox}/sandbox/alipay/payments", json=bought) as paid:
            assert paid.status < 300
        await client.until_order(number, "PAID")
        answers = [await begun_only(client.url) for _ in range(5)]
        assert not flooding.done()
        flooding.cancel()
    assert b"500" in answers


async def begun_only(url: str) -> bytes:
    """Begin to send a notice; return the status it is answered with before its body comes, if it is."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /channels/stripe/notices HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n")
    try:
        return (await asyncio.wait_for(reader.readline(), 0.5)).split()[1]
    except TimeoutError:
        return b""
    finally:
        writer.close()


async def test_a_strangers_notice_changes_nothing_and_is_answered_as_the_channel_expects(
    shop: tuple[Client, str],
) -> None:
    client, _ = shop
    user = fresh_user()
    for channel, status, content in (("alipay", 200, b"fail"), ("wechat", 500, None), ("stripe", 500, None)):
        _, attempt = await opened(client, channel, user)
        path, number = f"/channels/{channel}/notices", attempt["attemptId"]
        for body in (
            b"",
            b"{}",
            b"\xff" * 1000,
            f"out_trade_no={number}&trade_status=TRADE_SUCCESS&total_amount=11.77&sign=x".encode(),
            f'{{"out_trade_no":"{number}","trade_state":"SUCCESS"}}'.encode(),
        ):
            reply = await client.send("POST", path, data=body)
            assert reply.status == status
            assert content in {None, reply.content}
        long = await client.send("POST", path, data=b"x" * 70_000)
        assert long.status >= 400 or long.content == b"fail"

        order = f"/pay-orders/{attempt['payOrderId']}"
        assert (await client.get(order, client.token(user))).json["status"] == "WAIT_BUYER_PAY"
