"""``paybell serve`` as a process: how it starts, ends, dies and comes back."""

import asyncio
import dataclasses
import os
import re
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

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
    Process,
    fresh_databases,
    fresh_user,
    in_process,
    lasting,
    process,
    run,
)
from support import PASSWORD, Databases, connected, until

from paybell.serving.counts_folder import counts_folder
from paybell.testing.ports import free_port

pytestmark = pytest.mark.slow

PASSWORD_IN_URL = "hunter2hunter2"


def databases(home: Path) -> dict[str, str]:
    """Return the URLs of an embedded server's databases."""
    return {
        name: f"postgresql://postgres:@/paybell_{name}?host={home / 'postgres'}" for name in ("pay", "trade")
    }


@asynccontextmanager
async def serving(home: Path, *arguments: str, **settings: object) -> AsyncIterator[tuple[Process, Client]]:
    """Run the service on its embedded defaults and wait until it is ready."""
    with process("serve", *arguments, log=home / "log", home=home, port=0, **settings) as service:
        url = await service.url()
        secret = str(settings.get("jwt_secret") or (home / "jwt-secret").read_text())
        async with Client.open(url, secret) as client:
            await until_ready(client)
            yield service, client


async def until_ready(client: Client) -> None:
    """Wait until every part is there."""

    async def ready() -> bool:
        try:
            return (await client.get("/readyz")).status == 200
        except aiohttp.ClientError:
            return False

    await until(ready, seconds=30)


async def paid_order(client: Client) -> str:
    """Pay an order from end to end and return its id."""
    user = fresh_user()
    await client.fund(user, 100)
    order = await client.order(user, 100)
    assert (await client.pay(order["payOrderId"], user)).status == 200
    await client.until_order(order["id"], "PAID")
    return str(order["id"])


# Start and end ---------------------------------------------------------------------------------


async def test_one_command_serves_and_ends_in_order(home: Path) -> None:
    """On a fresh folder, with nothing set: an order is paid and marked paid; SIGTERM ends with 0."""
    async with serving(home) as (service, client):
        await paid_order(client)
        service.signal(signal.SIGTERM)
        async with lasting(10):
            code = await service.ended()

    assert code == 0
    assert not service.tracebacks
    assert service.said.count("service_stopped") == 1
    assert not (home / "postgres" / "postmaster.pid").exists()
    assert {oct((home / name).stat().st_mode & 0o777) for name in ("jwt-secret", "pin-pepper")} == {"0o600"}


async def test_ctrl_c_ends_it_too(home: Path) -> None:
    async with serving(home) as (service, _):
        service.signal(signal.SIGINT)
        code = await service.ended(15)

    assert code == 0
    assert not service.tracebacks


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
async def test_nothing_acknowledged_under_load_is_lost(home: Path, number: signal.Signals) -> None:
    """Ended or killed in the middle of payments, and started again on the same folder."""
    answered: dict[str, str] = {}
    tried: dict[str, str] = {}
    statuses: list[int] = []

    async def buy(client: Client, user: str) -> None:
        while True:
            made = await client.post("/orders", client.shop, {"buyerId": user, "totalFee": 1})
            statuses.append(made.status)
            if made.status != 201:
                return
            order = made.json
            tried[order["payOrderId"]] = order["id"]
            paid = await client.pay(order["payOrderId"], user)
            statuses.append(paid.status)
            if paid.status == 200:
                answered[order["payOrderId"]] = order["id"]

    async def enough() -> bool:
        return len(answered) > 60

    # Short, because what a killed relay held is taken over when its lease ends.
    lease = {"relay_lease_seconds": 2, "publish_deadline_seconds": 1}
    async with serving(home, **lease) as (service, client):
        users = [fresh_user() for _ in range(8)]
        for user in users:
            await client.fund(user, 10_000)
        buyers = [asyncio.create_task(buy(client, user)) for user in users for _ in range(4)]
        await until(enough, seconds=60)
        service.signal(number)
        async with lasting(10):
            code = await service.ended()
        ends = await asyncio.gather(*buyers, return_exceptions=True)
    async with serving(home) as (_, client):
        for pay_order_id, order_id in answered.items():
            shown = await client.get(f"/pay-orders/{pay_order_id}", client.shop)
            assert shown.json["status"] == "TRADE_SUCCESS"
            await client.until_order(order_id, "PAID")
        paid = 0
        for pay_order_id in tried:
            shown = await client.get(f"/pay-orders/{pay_order_id}", client.shop)
            paid += shown.json["status"] == "TRADE_SUCCESS"
        left = sum([await client.balance(user) for user in users])

    assert code == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    assert set(statuses) <= {200, 201, 503}
    assert all(end is None or isinstance(end, aiohttp.ClientError) for end in ends), ends
    assert not service.tracebacks
    assert left == 8 * 10_000 - paid
    assert len(answered) <= paid <= len(tried)


async def test_a_payment_in_flight_at_sigterm_is_answered(home: Path) -> None:
    async with serving(home) as (service, client):
        user = fresh_user()
        await client.fund(user, 100)
        order = await client.apply(user, 100)
        async with connected(databases(home)["pay"]) as other, connected(databases(home)["pay"]) as watching:
            held = other.transaction()
            await held.start()
            await other.execute("LOCK TABLE pay_orders IN EXCLUSIVE MODE")
            paying = asyncio.create_task(client.pay(order["id"], user))

            async def waits() -> bool:
                return bool(await watching.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

            async def stopping() -> bool:
                return "service_stopping" in service.said

            await until(waits)
            service.signal(signal.SIGTERM)
            await until(stopping)
            await held.rollback()
            reply = await paying
        code = await service.ended(15)

    assert (reply.status, reply.json["status"]) == (200, "TRADE_SUCCESS")
    assert code == 0


async def test_a_request_that_cannot_end_does_not_keep_the_process(home: Path) -> None:
    """The database is frozen, and even this request is answered: within 8 s on a machine with time."""
    with process("serve", log=home / "keeper", home=home, port=0) as keeper:
        await keeper.url()
        urls = databases(home)
        settings = {
            "database_url": urls["pay"],
            "trade_database_url": urls["trade"],
            "jwt_secret": SECRET,
            "pin_pepper": PEPPER_SETTING,
        }
        async with serving(home, **settings) as (service, client):
            user = fresh_user()
            await client.fund(user, 100)
            order = await client.apply(user, 100)
            with frozen(postmaster(home)):
                paying = asyncio.create_task(client.pay(order["id"], user))
                reading = asyncio.create_task(client.get("/readyz"))
                assert (await reading).status == 503
                service.signal(signal.SIGTERM)
                async with lasting(20):
                    code = await service.ended()
                reply = await paying

    assert reply.refusal in ((503, "outcome_unknown"), (503, "database_unavailable"))
    assert reply.headers["Retry-After"] == "1"
    assert code == 0
    assert not service.tracebacks


@contextmanager
def frozen(parent: int) -> Iterator[None]:
    """Stop a process's children for a while; they keep their connections and do not answer."""
    children = [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    try:
        for pid in children:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in children:
            os.kill(pid, signal.SIGCONT)


async def test_a_request_cut_off_at_the_end_is_told_that_its_outcome_is_unknown(home: Path) -> None:
    """Its table is locked by somebody else for longer than the process may wait."""
    async with serving(home) as (service, client):
        user = fresh_user()
        await client.fund(user, 100)
        order = await client.apply(user, 100)
        async with connected(databases(home)["pay"]) as other:
            held = other.transaction()
            await held.start()
            await other.execute("LOCK TABLE pay_orders IN EXCLUSIVE MODE")
            paying = asyncio.create_task(client.pay(order["id"], user))
            await client.get("/healthz")
            service.signal(signal.SIGTERM)
            reply = await paying
            await held.rollback()
        code = await service.ended(15)

    assert reply.refusal in ((503, "outcome_unknown"), (503, "database_unavailable"))
    assert code == 0
    assert not service.tracebacks


async def test_sigterm_while_it_still_starts_ends_it_too(home: Path) -> None:
    with process("serve", log=home / "log", home=home, port=0) as service:

        async def begun() -> bool:
            return (home / "pin-pepper").exists()

        await until(begun, seconds=30)
        service.signal(signal.SIGTERM)
        code = await service.ended(20)

    assert code == 0
    assert not service.tracebacks
    async with serving(home) as (_, client):
        await paid_order(client)


async def test_a_killed_service_starts_again_on_its_folder(home: Path) -> None:
    """Killed with its database, so that this one has to recover too."""
    async with serving(home) as (service, client):
        order_id = await paid_order(client)
        os.kill(postmaster(home), signal.SIGKILL)
        service.kill()
    async with serving(home) as (_, client):
        assert (await client.get(f"/orders/{order_id}", client.shop)).json["status"] == "PAID"
        await paid_order(client)


def postmaster(home: Path) -> int:
    """Return the process id of a folder's database server."""
    return int((home / "postgres" / "postmaster.pid").read_text().splitlines()[0])


async def test_two_processes_share_one_folder(home: Path) -> None:
    """They use one database server; whoever leaves first does not take it along."""
    with process("serve", log=home / "second", home=home, port=0) as second:
        async with (
            serving(home) as (first, client),
            Client.open(await second.url(), (home / "jwt-secret").read_text()) as other,
        ):
            await until_ready(other)
            user = fresh_user()
            await client.fund(user, 100)
            order = await client.order(user, 100)
            assert (await other.pay(order["payOrderId"], user)).status == 200
            await client.until_order(order["id"], "PAID")
            first.signal(signal.SIGTERM)
            assert await first.ended(15) == 0
            await paid_order(other)
            second.signal(signal.SIGTERM)
            assert await second.ended(15) == 0
    assert not (home / "postgres" / "postmaster.pid").exists()


# What keeps it from starting -------------------------------------------------------------------


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


# What goes away meanwhile ----------------------------------------------------------------------


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


# Workers ---------------------------------------------------------------------------------------


def workers_of(service: Process) -> set[int]:
    """Return the process ids of a service's workers."""
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text()
    return {int(pid) for pid in children.split()}


def gone(pid: int) -> bool:
    """Say whether a process is no more, or only waits for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def test_workers_share_a_port_and_their_counts_and_are_replaced(home: Path) -> None:
    async with serving(home, "--workers", "2") as (service, client):

        async def two() -> bool:
            return len(workers_of(service)) == 2

        await until(two)
        before = workers_of(service)
        for _ in range(6):
            async with Client.open(client.url, (home / "jwt-secret").read_text()) as another:
                await paid_order(another)
        counted = [await counts(client.url) for _ in range(4)]
        os.kill(min(before), signal.SIGKILL)

        async def replaced() -> bool:
            return len(workers_of(service)) == 2 and min(before) not in workers_of(service)

        await until(replaced)
        await until_ready(client)
        async with Client.open(client.url, (home / "jwt-secret").read_text()) as another:
            await until_ready(another)
            await paid_order(another)
        after = await counts(client.url)
        workers = workers_of(service)
        service.signal(signal.SIGTERM)
        async with lasting(10):
            code = await service.ended()

    assert counted == [6.0] * 4
    assert after == 7.0
    assert code == 0
    assert all(gone(pid) for pid in before | workers)
    assert not service.tracebacks


async def counts(url: str) -> float:
    """Return how many payments a service says were made, over a connection of its own."""
    async with Client.open(url) as client:
        text = (await client.get("/metrics")).content.decode()
    lines = [
        line for line in text.splitlines() if line.startswith('paybell_payments_total{outcome="succeeded"}')
    ]
    return float(lines[0].split()[1]) if lines else 0.0


async def test_workers_end_when_their_parent_is_killed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And after them the parent's database server; the folder of their counts goes with the next start."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with serving(home, "--workers", "2") as (service, client):

        async def two() -> bool:
            return len(workers_of(service)) == 2

        await until(two)
        await paid_order(client)
        workers = workers_of(service)
        (counts,) = folders_of_counts(tmp_path)
        with counts_folder():
            assert counts.exists()  # it is in use
        service.kill()

        async def all_gone() -> bool:
            return all(gone(pid) for pid in workers)

        await until(all_gone, seconds=15)
        await until(partial(stopped, home))
        with counts_folder():
            assert not counts.exists()
    assert not service.tracebacks
    assert not folders_of_counts(tmp_path)


def folders_of_counts(folder: Path) -> list[Path]:
    """Return where the workers of each supervisor add their counts up."""
    return list(folder.glob("paybell-metrics-*"))


async def stopped(home: Path) -> bool:
    """Say whether a folder's database server has been stopped in order."""
    return not (home / "postgres" / "postmaster.pid").exists()


async def test_a_killed_service_leaves_no_database_server_behind(home: Path) -> None:
    """Unless somebody else uses it."""
    with process("serve", log=home / "second", home=home, port=0) as second:
        await second.url()
        async with serving(home) as (service, _):
            service.kill()
        async with Client.open(await second.url(), (home / "jwt-secret").read_text()) as other:
            await paid_order(other)
        second.kill()
        await until(partial(stopped, home), seconds=30)

    async def in_order() -> bool:  # the last line follows the removal of its file
        return "database system is shut down" in (home / "postgres" / "log").read_text()

    await until(in_order)
    async with serving(home) as (_, client):
        await paid_order(client)
    assert await stopped(home)


# Roles -----------------------------------------------------------------------------------------


@pytest.mark.rabbitmq
async def test_three_roles_as_three_processes_pay_an_order_over_rabbitmq(
    home: Path, rabbitmq_url: str
) -> None:
    """The order service knows pay by HTTP and by message only; each has its own database."""
    shared = {
        "home": home,
        "jwt_secret": SECRET,
        "pin_pepper": PEPPER_SETTING,
        "broker_url": rabbitmq_url,
        "port": 0,
    }
    code, said = await run("migrate", log=home / "migrate", home=home)
    assert code == 0, said
    with process("serve", "--role", "api", log=home / "keeper", home=home, port=0):
        pay, trade = databases(home)["pay"], databases(home)["trade"]
        with process("serve", "--role", "api", log=home / "api", database_url=pay, **shared) as api:
            pay_url = await api.url()
            with (
                process("serve", "--role", "relay", log=home / "relay", database_url=pay, **shared) as relay,
                process(
                    "serve",
                    "--role",
                    "trade",
                    log=home / "trade",
                    trade_database_url=trade,
                    pay_url=pay_url,
                    **shared,
                ) as trading,
            ):
                async with Client.open(pay_url) as buyer, Client.open(await trading.url()) as shop:
                    await until_ready(buyer)
                    await until_ready(shop)
                    user = fresh_user()
                    await buyer.fund(user, 100)
                    order = await shop.order(user, 100)
                    reply = await buyer.pay(order["payOrderId"], user)
                    await shop.until_order(order["id"], "PAID")
                    not_here = await shop.get(f"/pay-orders/{order['payOrderId']}", shop.shop)
                    async with Client.open(await relay.url()) as relaying:
                        ready = await relaying.get("/readyz")
    assert reply.status == 200
    assert not_here.refusal == (404, "not_found")
    assert ready.json["checks"] == {"payDatabase": "ok", "broker": "ok"}
    assert not api.tracebacks + relay.tracebacks + trading.tracebacks


# What it says ----------------------------------------------------------------------------------


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


SLOWNESS = float(os.environ.get("PAYBELL_TEST_SLOWNESS", "2"))
