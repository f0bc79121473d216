"""What stands in examples/ does what it says, against a whole service."""

import asyncio
import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_shop import PRICE, WELCOME, create_app
from serving import SECRET, Client, fresh_user
from support import PASSWORD, until

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def shop(http: Client) -> Iterator[Flask]:
    """The shop, with the service behind it."""
    with httpx.Client(base_url=http.url, timeout=30) as pay:
        yield create_app(pay, SECRET, "https://tea.example")


async def signed_up(shop: Flask, name: str) -> FlaskClient:
    """Return a browser of somebody who has just opened an account at the shop."""
    visitor = shop.test_client()
    form = {"name": name, "pay_password": PASSWORD}
    assert (await asyncio.to_thread(visitor.post, "/sign-up", data=form)).status_code == 303
    return visitor


async def page(visitor: FlaskClient, path: str) -> str:
    return (await asyncio.to_thread(visitor.get, path)).text


async def test_the_shop_in_flask_sells_once_whatever_is_clicked_and_believes_only_paybell(
    http: Client, shop: Flask
) -> None:
    name = fresh_user()
    visitor = await signed_up(shop, name)
    found = re.search(r'name="order_id" value="(\d+)"', await page(visitor, "/"))
    assert found
    shown = f"/orders/{found[1]}"
    for _ in range(2):
        sent = await asyncio.to_thread(visitor.post, "/orders", data={"order_id": found[1]})
        assert sent.status_code == 303
    cashier = urlsplit(sent.location)
    assert parse_qs(cashier.query) == {"returnUrl": [f"https://tea.example{shown}"]}
    assert "Not paid yet" in await page(visitor, shown)

    order = (await http.get(shown, cashier.fragment.removeprefix("token="))).json
    assert (await http.pay(order["payOrderId"], name)).status == 200

    async def paid() -> bool:
        return "Paid. The tea is on its way" in await page(visitor, shown)

    await until(paid)
    assert await http.balance(name) == WELCOME - PRICE


async def test_the_shop_in_flask_shows_nobody_anothers_order_and_gives_nobody_anothers_name(
    http: Client, shop: Flask
) -> None:
    name = fresh_user()
    order = await http.order(name)
    visitor, owner = await signed_up(shop, fresh_user()), await signed_up(shop, name)

    assert "Not paid yet" in await page(owner, f"/orders/{order['id']}")
    assert (await asyncio.to_thread(visitor.get, f"/orders/{order['id']}")).status_code == 404
    form = {"name": name, "pay_password": PASSWORD}
    assert (await asyncio.to_thread(visitor.post, "/sign-up", data=form)).status_code == 409
