"""``paybell serve`` waits for a database or a broker that is not there, and says so."""

import dataclasses
import os
import signal
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
import structlog
from amqp import line
from serving import (
    PEPPER_SETTING,
    SECRET,
    SETTINGS,
    Client,
    Line,
    fresh_databases,
    fresh_user,
    in_process,
    process,
    run,
)
from started import PASSWORD_IN_URL, postmaster, serving, until_ready
from support import Databases, until

from paybell.testing.ports import free_port

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "database_url",
    [
        f"postgresql://u:{PASSWORD_IN_URL}@127.0.0.1:9/x",
        f"postgresql://u:{PASSWORD_IN_URL}@/x?host=/nowhere",
    ],
    ids=["nobody listens", "no socket"],
)
async def test_a_database_that_cannot_be_reached_is_named_and_waited_for(
    home: Path, database_url: str
) -> None:
    """A password in its URL is not repeated."""
    settings = {"jwt_secret": SECRET, "pin_pepper": PEPPER_SETTING, "home": home, "port": 0}
    urls = {"database_url": database_url, "trade_database_url": database_url}
    with process("serve", log=home / "log", **settings, **urls) as service:

        async def named() -> bool:
            return "database_away" in service.said

        await until(named, seconds=30)

    assert "PAYBELL_DATABASE_URL: " in service.said
    assert "hunter2" not in service.said


@pytest.mark.parametrize(
    ("broker_url", "workers"),
    [
        (f"amqp://u:{PASSWORD_IN_URL}@127.0.0.1:9,amqp://u:{PASSWORD_IN_URL}@127.0.0.1:10", 1),
        (f"amqp://u:{PASSWORD_IN_URL}@host.invalid:5672", 2),
    ],
    ids=["nobody listens", "no such host, and workers"],
)
async def test_a_broker_that_cannot_be_reached_is_named_and_waited_for(
    home: Path, broker_url: str, workers: int
) -> None:
    """From one process or several, which are alive and not ready meanwhile."""
    arguments = ("serve", "--workers", str(workers))
    with process(*arguments, log=home / "log", home=home, port=0, broker_url=broker_url) as service:
        async with Client.open(await service.url()) as client:

            async def answers() -> bool:
                with suppress(aiohttp.ClientError):
                    return (await client.get("/healthz")).status == 200
                return False

            await until(answers)
            ready = await client.get("/readyz")

            async def named() -> bool:
                return service.said.count("broker_away") >= workers

            await until(named)

    assert ready.refusal == (503, "not_ready")
    assert ready.json["checks"]["broker"] == "The broker is not connected, or it blocks publishers."
    assert "PAYBELL_BROKER_URL" in service.said
    assert "hunter2" not in service.said
    # Once for the supervisor, which tries everything first, and once for each worker.
    assert service.said.count("broker_away") <= workers + 1


@pytest.mark.rabbitmq
async def test_a_broker_that_comes_later_gets_what_was_paid_meanwhile(
    postgres: Databases, rabbitmq_url: str
) -> None:
    async with line(rabbitmq_url) as broker:
        broker.refuse()
        settings = dataclasses.replace(SETTINGS, broker_url=broker.url)
        with structlog.testing.capture_logs() as logs:
            async with in_process(await fresh_databases(postgres), settings) as shop:
                user = fresh_user()
                await shop.client.fund(user, 100)
                order = await shop.client.order(user, 100)
                paid = await shop.client.pay(order["payOrderId"], user)
                not_ready = await shop.client.get("/readyz")
                broker.recover()
                await shop.client.until_order(order["id"], "PAID")
                await until_ready(shop.client)

    assert paid.status == 200
    assert not_ready.refusal == (503, "not_ready")
    assert [one["event"] for one in logs].count("broker_away") == 1


@pytest.mark.rabbitmq
async def test_a_broker_that_comes_later_and_refuses_ends_the_process(home: Path, rabbitmq_url: str) -> None:
    async with line(rabbitmq_url) as broker:
        broker.refuse()
        url = f"amqp://guest:{PASSWORD_IN_URL}@{broker.url.rpartition('@')[2]}"
        with process("serve", log=home / "log", home=home, port=0, broker_url=url) as service:
            await service.url()
            broker.recover()
            code = await service.ended()

    assert code == 1
    assert service.said.splitlines()[-1].startswith("paybell: RabbitMQ refuses us, check PAYBELL_BROKER_URL.")


async def test_a_database_that_comes_later_is_waited_for(
    home: Path, postgres: Databases, tmp_path: Path
) -> None:
    """After a reboot, in whatever order: alive, not ready, and then as if nothing had been."""
    way = Line(await fresh_databases(postgres), tmp_path)
    await way.cut()
    port = free_port()
    with process(
        "serve",
        log=home / "log",
        home=home,
        port=port,
        jwt_secret=SECRET,
        pin_pepper=PEPPER_SETTING,
        database_url=way.urls["pay"],
        trade_database_url=way.urls["trade"],
    ) as service:

        async def waits() -> bool:
            return "database_away" in service.said

        await until(waits, seconds=30)
        async with Client.open(f"http://127.0.0.1:{port}") as client:
            alive, ready = await client.get("/healthz"), await client.get("/readyz")
            way.mend()
            await until_ready(client)

    assert alive.json == {"status": "ok"}
    assert ready.refusal == (503, "not_ready")
    assert service.said.count("database_away") == 1
    assert "PAYBELL_DATABASE_URL: " in service.said
    assert not service.tracebacks


async def test_a_database_killed_while_we_serve_is_waited_out(home: Path) -> None:
    """503 and not ready while it is down; all back, with what was acknowledged, when it is up again."""
    async with serving(home) as (service, client):
        user = fresh_user()
        await client.fund(user, 1_000)
        order = await client.order(user, 100)
        paid = await client.order(user, 100)
        assert (await client.pay(paid["payOrderId"], user)).status == 200

        os.kill(postmaster(home), signal.SIGKILL)

        async def away() -> bool:
            return (await client.get("/readyz")).status == 503

        await until(away)
        refusal = await client.pay(order["payOrderId"], user)
        health = await client.get("/healthz")
        # Another process of the same folder starts the server again, and leaves it running for us.
        code, said = await run("migrate", log=home / "migrate", home=home)
        assert code == 0, said
        await until_ready(client)
        again = await client.pay(order["payOrderId"], user)
        for one in (order, paid):
            await client.until_order(one["id"], "PAID")
        balance = await client.balance(user)

    assert refusal.refusal == (503, "database_unavailable")
    assert health.status == 200
    assert again.status == 200
    assert balance == 800
    assert not service.tracebacks
