"""A pay service that is not where it should be, or has another secret: found at the start, and named."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import structlog
from serving import SETTINGS, fresh_databases, in_process
from support import Databases

from paybell.clock import SystemClock
from paybell.diagnosis.examination import examine
from paybell.errors import Misconfigured, PaybellError
from paybell.settings import read_settings
from paybell.tokens import Tokens
from paybell.trade.errors import PayServiceUnavailable
from paybell.trade.model import Order, OrderStatus
from paybell.trade.pay_client import PayClient
from paybell.trade.pay_connection import ANSWER_BYTES_MAX

OTHER_SECRET = "another secret with at least 64 bytes, so that no algorithm calls it short"
TRADE_ROLES = frozenset({"background", "trade"})
AWAY = "http://127.0.0.1:9"


@asynccontextmanager
async def answering(head: str, body: str = "") -> AsyncIterator[str]:
    """Something at a port that answers everything alike; yield its URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
        )
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def what_is_wrong(url: str, secret: str = SETTINGS.jwt_secret) -> str:
    """Ask as trade does when it starts; return the sentence, empty if all is well."""
    tokens = Tokens.from_settings(replace(SETTINGS, jwt_secret=secret), SystemClock())
    async with PayClient.open(url, tokens, SystemClock()) as client:
        try:
            await client.check()
        except Misconfigured as error:
            return str(error)
    return ""


async def test_a_wrong_address_and_another_secret_are_told_apart(postgres: Databases) -> None:
    async with in_process(await fresh_databases(postgres), roles=frozenset({"api"})) as pay:
        assert not await what_is_wrong(pay.client.url)
        assert await what_is_wrong(pay.client.url, OTHER_SECRET) == (
            "PAYBELL_PAY_URL: it answers 401; trade and pay need the same PAYBELL_JWT_SECRET."
        )
        assert await what_is_wrong(f"{pay.client.url}/shop") == (
            "PAYBELL_PAY_URL: GET /pay-orders is answered with 404; it must lead to the pay service."
        )
    async with answering("301 Moved Permanently\r\nLocation: https://pay.example/") as url:
        assert await what_is_wrong(url) == (
            "PAYBELL_PAY_URL: it answers 301 and leads to https://pay.example/; set the URL that is meant."
        )
    async with answering("200 OK", "<html>") as url:
        assert await what_is_wrong(url) == (
            "PAYBELL_PAY_URL: it answers 200 without a JSON object; it must lead to the pay service."
        )
    async with answering("200 OK", "x" * (ANSWER_BYTES_MAX + 1)) as url:
        assert await what_is_wrong(url) == (
            "PAYBELL_PAY_URL: it answers 200 with more than 1048576 bytes; it must lead to the pay service."
        )


async def test_an_id_that_no_pay_order_has_is_no_answer_of_a_pay_service() -> None:
    """As many digits as ids have, and more than the database holds."""
    now = SystemClock().now()
    order = Order(1, "7", 100, "CNY", "", OrderStatus.UNPAID, None, now, None, None, 0, 0)
    async with (
        answering("201 Created", '{"payOrderId": "9999999999999999999"}') as url,
        PayClient.open(url, Tokens.from_settings(SETTINGS, SystemClock()), SystemClock()) as client,
    ):
        with pytest.raises(PayServiceUnavailable):
            await client.apply(order, "")


@pytest.mark.parametrize("url", ["pay:8000", "ftp://pay", "http://", "http://pay?x=1", "http://[pay"])
def test_what_is_no_address_is_refused_with_the_settings(url: str) -> None:
    with pytest.raises(Misconfigured, match="PAYBELL_PAY_URL must be http://HOST:PORT"):
        read_settings({}, pay_url=url)


async def test_trade_does_not_start_with_another_secret_than_pay_and_waits_for_one_that_is_away(
    postgres: Databases,
) -> None:
    urls = await fresh_databases(postgres)
    async with in_process(urls, roles=frozenset({"api"})) as pay:
        settings = replace(SETTINGS, jwt_secret=OTHER_SECRET, pay_url=pay.client.url)
        with pytest.raises(Misconfigured, match="the same PAYBELL_JWT_SECRET"):
            async with in_process(urls, settings, TRADE_ROLES):
                pass
    with structlog.testing.capture_logs() as logs:
        async with in_process(urls, replace(SETTINGS, pay_url=AWAY), TRADE_ROLES):
            pass
    assert "pay_service_away" in [line["event"] for line in logs]


async def test_a_secret_that_changes_while_we_run_is_named_in_the_log_once(postgres: Databases) -> None:
    urls = await fresh_databases(postgres)
    async with in_process(urls, roles=frozenset({"api"})) as pay:
        tokens = Tokens.from_settings(replace(SETTINGS, jwt_secret=OTHER_SECRET), SystemClock())
        async with PayClient.open(pay.client.url, tokens, SystemClock()) as client:
            with structlog.testing.capture_logs() as logs:
                for _ in range(3):
                    with pytest.raises(PaybellError):
                        await client.states_of([1])
    refusals = [line for line in logs if line["event"] == "pay_service_refuses"]
    assert [line["reason"] for line in refusals] == [
        "PAYBELL_PAY_URL: it answers 401; trade and pay need the same PAYBELL_JWT_SECRET."
    ]


async def test_doctor_asks_the_pay_service(pay_url: str, trade_url: str) -> None:
    given = {"database_url": pay_url, "trade_database_url": trade_url, "pay_url": AWAY, "port": 0}
    secrets = {"jwt_secret": SETTINGS.jwt_secret, "pin_pepper": SETTINGS.pin_pepper}
    found = [one async for one in examine(SystemClock(), {}, **given, **secrets)]

    (pay,) = [one for one in found if one.part == "pay service"]
    assert (pay.state, pay.what) == ("error", "does not answer at PAYBELL_PAY_URL")
