"""What ``paybell serve`` refuses at its start, named in words; and no secret in any of them."""

import re
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest
from serving import (
    PEPPER_SETTING,
    SECRET,
    fresh_user,
    process,
    run,
)
from started import PASSWORD_IN_URL, databases, serving
from support import PASSWORD, connected, until

pytestmark = pytest.mark.slow


async def refused(*arguments: str, home: Path, **settings: object) -> str:
    """Expect a command to end with 1 and one sentence, within a bounded wait; return the sentence."""
    with tempfile.TemporaryDirectory() as folder:
        everything: dict[str, Any] = {"home": home, "port": 0, **settings}
        code, said = await run(*(arguments or ("serve",)), log=Path(folder) / "log", **everything)
    assert code == 1, said
    assert said.startswith("paybell: "), said
    assert said.count("\n") == 1, said
    return said.removeprefix("paybell: ").strip()


async def test_a_taken_port_is_named(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sentence = await refused(home=home, port=port)

    assert f"127.0.0.1:{port}" in sentence
    assert "PAYBELL_PORT" in sentence


@pytest.mark.parametrize("host", ["host.invalid", "192.0.2.1", "x" * 70, "256.1.1.1"])
async def test_an_address_that_is_not_ours_is_named(home: Path, host: str) -> None:
    sentence = await refused(home=home, host=host, jwt_secret=SECRET, pin_pepper=PEPPER_SETTING)

    assert host in sentence
    assert "PAYBELL_HOST" in sentence


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"host": "0.0.0.0"}, "PAYBELL_JWT_SECRET"),
        ({"host": "::"}, "PAYBELL_JWT_SECRET"),
        ({"host": "0.0.0.0", "jwt_secret": "x" * 31, "pin_pepper": "x" * 64}, "PAYBELL_JWT_SECRET"),
        ({"host": "0.0.0.0", "jwt_secret": "x" * 32, "pin_pepper": "x" * 31}, "PAYBELL_PIN_PEPPER"),
        ({"port": "http"}, "PAYBELL_PORT"),
        ({"port": 70_000}, "PAYBELL_PORT"),
        ({"queue_type": "stream"}, "PAYBELL_QUEUE_TYPE"),
        ({"broker_url": "kafka://localhost"}, "PAYBELL_BROKER_URL"),
        ({"log_level": "loud"}, "PAYBELL_LOG_LEVEL"),
        ({"settle_batch_max": 0}, "PAYBELL_SETTLE_BATCH_MAX"),
        ({"relay_lease_seconds": 5}, "PAYBELL_RELAY_LEASE_SECONDS"),
        ({"pin_pepper": "1:a,1:b"}, "PAYBELL_PIN_PEPPER"),
        ({"home": "/dev/null/x"}, "PAYBELL_HOME"),
    ],
    ids=str,
)
async def test_a_setting_that_cannot_be_is_named(home: Path, settings: dict[str, Any], names: str) -> None:
    sentence = await refused(**{"home": home, **settings})

    assert names in sentence
    assert "x" * 31 not in sentence


@pytest.mark.parametrize(
    "database_url",
    [
        f"postgresql://u:{PASSWORD_IN_URL}/x@host/x",
        f"mysql://u:{PASSWORD_IN_URL}@host/x",
        PASSWORD_IN_URL,
    ],
    ids=["unreadable", "another kind", "no URL"],
)
async def test_what_is_no_url_of_a_database_ends_the_process(home: Path, database_url: str) -> None:
    sentence = await refused(
        home=home,
        database_url=database_url,
        trade_database_url=database_url,
        jwt_secret=SECRET,
        pin_pepper=PEPPER_SETTING,
    )

    assert sentence.startswith("PAYBELL_DATABASE_URL")
    assert "hunter2" not in sentence


async def test_a_database_that_refuses_the_user_is_named(home: Path) -> None:
    """With the server's own words: the user, or the database, that it does not know."""
    async with serving(home):
        urls = databases(home)
        settings = {"trade_database_url": urls["trade"], "jwt_secret": SECRET, "pin_pepper": PEPPER_SETTING}
        user = await refused(
            home=home, database_url=urls["pay"].replace("//postgres:", "//nobody:"), **settings
        )
        database = await refused(
            home=home, database_url=urls["pay"].replace("paybell_pay", "nothing"), **settings
        )

    assert user.startswith("PAYBELL_DATABASE_URL: The database refuses:")
    assert "nobody" in user
    assert "nothing" in database


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"database_url": "postgresql://pay"}, "PAYBELL_TRADE_DATABASE_URL"),
        ({"trade_database_url": "postgresql://trade"}, "PAYBELL_DATABASE_URL"),
        ({"host": "0.0.0.0"}, "PAYBELL_DATABASE_URL"),
    ],
    ids=str,
)
async def test_a_forgotten_database_is_named_and_no_embedded_one_takes_its_place(
    home: Path, given: dict[str, str], missing: str
) -> None:
    secrets = {"jwt_secret": SECRET, "pin_pepper": PEPPER_SETTING}
    sentence = await refused(home=home, port=0, **secrets, **given)

    assert sentence == (
        f"Set {missing}: the embedded PostgreSQL is for trying Paybell out, on the loopback and for both "
        "databases."
    )
    assert not (home / "postgres").exists()


async def test_kubernetes_address_of_a_service_is_no_port(home: Path) -> None:
    """It sets PAYBELL_PORT in every pod beside a service with the name paybell."""
    link = {"PAYBELL_PORT": "tcp://10.0.0.1:8000", "PAYBELL_METRICS_PORT": "tcp://10.0.0.2:9000"}
    with process(
        "serve",
        log=home / "log",
        home=home,
        host="127.0.0.1",
        port=link["PAYBELL_PORT"],
        metrics_port=link["PAYBELL_METRICS_PORT"],
    ) as service:
        await service.url()

        async def told() -> bool:
            return "embedded_database" in service.said

        await until(told)
        said = service.said

    assert all(f"name={name}" in said and "setting_ignored" in said for name in link)


@pytest.mark.parametrize("password", ["top/cret", "top#cret", "top?cret", "top,cret", "12/cret", "a@b:cret"])
async def test_no_piece_of_the_brokers_password_is_printed(home: Path, password: str) -> None:
    """Also where it was not percent-encoded, so that a parser takes pieces of it for a host or a port."""
    url = f"amqp://somebody:{password}@127.0.0.1:9/vhost"
    said = await refused(home=home, broker_url=url)
    _, found = await run("doctor", "--json", log=home / "doctor", home=home, broker_url=url)

    for text in (said, found):
        assert "PAYBELL_BROKER_URL" in text
        assert not re.search(r"\b(top|cret|12|somebody)\b", text)


@pytest.mark.rabbitmq
async def test_a_broker_that_refuses_the_user_is_named(home: Path, rabbitmq_url: str) -> None:
    host = rabbitmq_url.rpartition("@")[2]

    sentence = await refused(home=home, broker_url=f"amqp://guest:{PASSWORD_IN_URL}@{host}")

    assert "PAYBELL_BROKER_URL" in sentence
    assert "hunter2" not in sentence


async def test_roles_that_cannot_stand_alone_say_what_they_need(home: Path) -> None:
    relay = await refused("serve", "--role", "background", home=home)
    trade = await refused("serve", "--role", "trade", home=home)
    both = await refused("serve", "--role", "api", "--role", "trade", home=home)

    assert "PAYBELL_BROKER_URL" in relay
    assert "PAYBELL_PAY_URL" in trade
    assert "PAYBELL_BROKER_URL" in both


async def test_a_database_of_an_older_release_is_not_changed_unasked(home: Path) -> None:
    """One given by URL belongs to its operator; ``paybell migrate`` is theirs to run."""
    async with serving(home):
        urls = databases(home)
        async with connected(urls["trade"]) as rows:
            await rows.execute(
                "DELETE FROM paybell_schema_versions WHERE schema = 'trade' AND version > '0001'"
            )
        sentence = await refused(
            home=home,
            database_url=urls["pay"],
            trade_database_url=urls["trade"],
            jwt_secret=SECRET,
            pin_pepper=PEPPER_SETTING,
        )

    assert sentence.startswith("PAYBELL_TRADE_DATABASE_URL: ")
    assert "paybell migrate" in sentence


@pytest.mark.parametrize("log_format", ["console", "json"])
async def test_no_secret_is_ever_logged(home: Path, log_format: str) -> None:
    """Not when all is well, not for bad requests, not in the traceback of a bug."""
    async with serving(home, log_format=log_format, log_level="debug") as (service, client):
        user = fresh_user()
        await client.fund(user, 100)
        order = await client.order(user, 100)
        token = client.token(user)
        await client.pay(order["payOrderId"], user, "314159")
        await client.send(
            "POST", f"/pay-orders/{order['payOrderId']}/pay", token, data=b'{"payPassword":314159}'
        )
        await client.send("POST", f"/pay-orders/{order['payOrderId']}/pay", token, data=b'{"314159')
        await client.get("/orders/1", token + "x")
        # A table that is not as it should be is a bug of ours: this is where a traceback is right.
        async with connected(databases(home)["pay"]) as rows:
            await rows.execute("ALTER TABLE wallets RENAME COLUMN failed_tries TO renamed")
        bug = await client.pay(order["payOrderId"], user, PASSWORD)
        async with connected(databases(home)["pay"]) as rows:
            await rows.execute("ALTER TABLE wallets RENAME COLUMN renamed TO failed_tries")
        service.signal(signal.SIGTERM)
        await service.ended(15)

    assert bug.status in (500, 503)
    assert "request_failed" in service.said
    secrets = [(home / name).read_text() for name in ("jwt-secret", "pin-pepper")]
    for secret in (*secrets, token, token.rpartition(".")[2], "314159", PASSWORD):
        assert secret not in service.said
    if log_format == "json":
        lines = [line for line in service.said.splitlines() if not line.startswith("Paybell listens")]
        assert all(line.startswith("{") for line in lines), lines


async def test_the_greeting_shows_no_password(home: Path) -> None:
    """Of no broker, however many are named; and it says where the password goes unencrypted."""
    settings = {"broker_url": f"amqp://u:{PASSWORD_IN_URL}@a:5672,amqp://u:{PASSWORD_IN_URL}@b:5672"}
    with process("serve", "--role", "api", log=home / "log", home=home, port=0, **settings) as service:
        await service.url()

        async def warned() -> bool:
            return service.said.count("broker_unencrypted") == 2

        await until(warned)

    assert "amqp://a:5672" in service.said
    assert "amqp://b:5672" in service.said
    assert "hunter2" not in service.said
