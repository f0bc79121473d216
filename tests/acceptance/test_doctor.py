"""``paybell doctor`` names the cause of whatever is wrong with a set-up, and what to do about it."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from amqp import at, rabbit, stranger
from presence import present
from relaying import pay, relay
from serving import PEPPER_SETTING, SECRET, fresh_databases, run
from support import Databases, PaySide, admin, connected

from paybell.clock import SystemClock
from paybell.diagnosis.broker import delivery_limit
from paybell.diagnosis.examination import examine
from paybell.diagnosis.findings import Finding
from paybell.messaging.broker import Denied
from paybell.messaging.events import TRADE_QUEUE, topology, trade_topology
from paybell.messaging.local import LocalBroker
from paybell.storage import Database
from paybell.testing import FaultyBroker, FrozenClock
from paybell.testing.ports import free_port
from paybell.testing.rabbitmq_install import ensure_installed
from paybell.testing.rabbitmq_node import RabbitmqNode

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]


@pytest.fixture
def sound(pay_url: str, trade_url: str, tmp_path: Path) -> dict[str, Any]:
    """Settings of a set-up that is well, on the local broker."""
    return {
        "database_url": pay_url,
        "trade_database_url": trade_url,
        "jwt_secret": SECRET,
        "pin_pepper": PEPPER_SETTING,
        "home": tmp_path,
        "port": free_port(),
    }


def owns(finding: Finding) -> bool:
    """Tests come as the tables' owner, of whom doctor warns; `test_runtime_role` has the two roles."""
    return "owns" in finding.what


async def troubles(settings: dict[str, Any], **changes: Any) -> dict[str, str]:
    """Return what is not well, by part, with the advice."""
    found = [one async for one in examine(SystemClock(), {}, **settings | changes) if not owns(one)]
    assert all(bool(one.advice) == (one.state != "ok") for one in found)
    return {one.part: f"{one.what} {one.advice}" for one in found if one.state != "ok"}


async def test_a_sound_set_up_has_nothing_wrong(sound: dict[str, Any], rabbitmq_url: str) -> None:
    with stranger(rabbitmq_url) as outside:
        outside.forget(topology())
    given = sound | {"broker_url": rabbitmq_url}
    found = [one async for one in examine(SystemClock(), {}, **given) if not owns(one)]

    assert {one.state for one in found} == {"ok"}
    assert [one.part for one in found] == [
        "settings",
        "port",
        "pay database",
        "clock",
        "trade database",
        "clock",
        "outbox",
        "dead letters",
        "topology",
        "listeners",
        "broker",
    ]


async def test_a_setting_that_cannot_be_read(sound: dict[str, Any]) -> None:
    found = [one async for one in examine(SystemClock(), {"PAYBELL_SETTLE_BATCH_MAX": "many"}, **sound)]

    assert [(one.part, one.state) for one in found] == [("settings", "error")]
    assert "PAYBELL_SETTLE_BATCH_MAX" in found[0].what


async def test_a_variable_that_is_no_setting(sound: dict[str, Any]) -> None:
    found = [one async for one in examine(SystemClock(), {"PAYBELL_PROT": "1"}, **sound)]

    (slip,) = [one for one in found if one.part == "settings" and one.state == "warning"]
    assert slip.what == "PAYBELL_PROT is no setting and is ignored"
    assert slip.advice == "Did you mean PAYBELL_PORT?"


async def test_a_database_that_is_read_only(sound: dict[str, Any], postgres: Databases) -> None:
    """As a standby is, or one that was closed for maintenance."""
    urls = await fresh_databases(postgres)
    name = urls["pay"].partition("?")[0].rpartition("/")[2]
    await admin(postgres.pay, f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    found = await troubles(sound, database_url=urls["pay"])

    assert "read-only" in found["pay database"]


def test_quorum_queues_that_drop_what_came_back_too_often() -> None:
    """From RabbitMQ 4 on they do by default; classic ones and older versions do not."""
    (found,) = delivery_limit("4.1.2", "quorum")

    assert found.state == "warning"
    assert "delivery-limit" in found.advice
    assert not [*delivery_limit("3.13.7", "quorum"), *delivery_limit("4.1.2", "classic")]
    assert not [*delivery_limit("", "quorum")]


async def test_quorum_queues_of_this_rabbitmq(sound: dict[str, Any], rabbitmq_url: str) -> None:
    async with rabbit(rabbitmq_url) as broker:
        version = await broker.server_version()
    with stranger(rabbitmq_url) as outside:
        outside.forget(topology())
        outside.forget(trade_topology())
        try:
            found = await troubles(sound, broker_url=rabbitmq_url, queue_type="quorum")
        finally:
            outside.forget(topology())
            outside.forget(trade_topology())

    limits = int(version.partition(".")[0]) >= 4
    assert set(found) == ({"delivery limit"} if limits else set())
    assert not limits or f"RabbitMQ {version} drops" in found["delivery limit"]


async def test_short_secrets_where_others_can_reach_us(sound: dict[str, Any]) -> None:
    found = await troubles(sound, host="0.0.0.0", jwt_secret="short")

    assert "PAYBELL_JWT_SECRET" in found["settings"]


async def test_a_database_that_does_not_exist(sound: dict[str, Any]) -> None:
    url = sound["database_url"].replace("/paybell_", "/no_such_")

    found = await troubles(sound, database_url=url)

    assert set(found) == {"pay database"}
    assert "PAYBELL_DATABASE_URL" in found["pay database"]
    assert found["pay database"].endswith("does not exist check its URL.")


async def test_a_database_that_does_not_answer(sound: dict[str, Any]) -> None:
    url = f"postgresql://paybell@127.0.0.1:{free_port()}/paybell"

    found = await troubles(sound, trade_database_url=url)

    assert set(found) == {"trade database"}
    assert "PAYBELL_TRADE_DATABASE_URL" in found["trade database"]
    assert "check its URL and that it runs" in found["trade database"]


async def test_a_database_user_without_the_right_name(sound: dict[str, Any]) -> None:
    url = sound["database_url"].replace("//postgres:", "//nobody:")

    found = await troubles(sound, database_url=url)

    assert "nobody" in found["pay database"]


async def test_migrations_behind(sound: dict[str, Any], trade_url: str) -> None:
    async with connected(trade_url) as rows:
        await rows.execute("DELETE FROM paybell_schema_versions WHERE schema = 'trade' AND version > '0001'")
        found = await troubles(sound)

    assert "schema trade is 0001" in found["trade database"]
    assert "paybell migrate" in found["trade database"]


async def test_an_empty_database(sound: dict[str, Any], postgres: Databases) -> None:
    await admin(postgres.pay, "DROP DATABASE IF EXISTS doctors_empty")
    await admin(postgres.pay, "CREATE DATABASE doctors_empty")
    url = postgres.pay.replace("/paybell_pay", "/doctors_empty")

    found = await troubles(sound, database_url=url)

    assert "schema pay is not there" in found["pay database"]


async def test_a_port_that_is_taken(sound: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = await troubles(sound, port=taken.getsockname()[1])

    assert set(found) == {"port"}
    assert "PAYBELL_PORT" in found["port"]


async def test_a_clock_that_is_off(sound: dict[str, Any]) -> None:
    late = FrozenClock(datetime.now(UTC) - timedelta(seconds=90))

    found = [one async for one in examine(late, {}, **sound)]

    clock = next(one for one in found if one.part == "clock")
    assert clock.state == "error"
    assert "90" in clock.what
    assert "NTP" in clock.advice


async def test_events_that_nobody_relays(sound: dict[str, Any], pay_url: str) -> None:
    async with Database.open(pay_url, SystemClock()) as database:
        side = PaySide(database)
        await side.fund("7", 100)
        order = await side.order(1, "7", 100)
        await side.attempt(order.id, "7")
    async with connected(pay_url) as rows:
        await rows.execute("UPDATE outbox SET occurred_at = now() - interval '45 seconds'")

    found = await troubles(sound)

    assert set(found) == {"outbox"}
    assert re.match("1 events wait, the oldest for [0-9]+ s ", found["outbox"])
    assert "--role background" in found["outbox"]


async def test_messages_that_rabbitmq_refuses(sound: dict[str, Any], pay_url: str) -> None:
    async with Database.open(pay_url, SystemClock()) as database:
        side = PaySide(database)
        await side.fund("7", 100)
        await pay(side, 1)
        broker = FaultyBroker(LocalBroker())
        broker.answer = Denied(403, "ACCESS_REFUSED - access to topic 'pay.success' refused")
        await relay(side.outbox, broker).run_once()

    found = await troubles(sound)

    assert set(found) == {"refused messages"}
    assert found["refused messages"].startswith(
        "RabbitMQ refuses messages at exchange pay.direct, routing key pay.success: 403 ACCESS_REFUSED - "
        "access to topic 'pay.success' refused; 1 events wait"
    )
    assert "set_topic_permissions" in found["refused messages"]


async def test_pay_orders_that_nobody_closes(sound: dict[str, Any], pay_url: str) -> None:
    async with Database.open(pay_url, SystemClock()) as database:
        await PaySide(database).order(1, "7", 100)
    async with connected(pay_url) as rows:
        await rows.execute("UPDATE pay_order_deadlines SET due_at = now() - interval '20 seconds'")

    found = await troubles(sound)

    assert set(found) == {"deadlines"}
    assert "--role background" in found["deadlines"]


async def test_dead_letters_that_wait_for_a_person(sound: dict[str, Any], trade_url: str) -> None:
    async with connected(trade_url) as rows:
        await rows.execute(
            "INSERT INTO failed_deliveries (listener, event_id, state, reason, error, attempts, exchange,"
            " routing_key, content_type, headers, body, first_failed_at, last_failed_at)"
            " VALUES ('q', 'e', 'dead', 'unreadable', '', 1, '', '', '', '{}', '', now(), now())"
        )

    found = await troubles(sound)

    assert set(found) == {"dead letters"}
    assert "paybell dead-letters" in found["dead letters"]


# RabbitMQ ----------------------------------------------------------------------------------------


async def test_who_else_takes_messages_of_trade_is_found(
    sound: dict[str, Any], rabbitmq_url: str, trade_url: str
) -> None:
    """A shop's own listener beside the role trade halves its messages; without trade all is well."""
    where = sound | {"broker_url": rabbitmq_url}
    with stranger(rabbitmq_url) as outside:
        outside.forget(topology())
    async with rabbit(rabbitmq_url) as broker, rabbit(rabbitmq_url) as shop:
        await broker.declare(topology())
        async with shop.consume(TRADE_QUEUE, 1):
            found = [one async for one in examine(SystemClock(), {}, **where)]
            (listeners,) = (one for one in found if one.part == "listeners")
            assert listeners.state == "ok"
            assert listeners.what == f"1 consumers of {TRADE_QUEUE}, none of the role trade"

            async with (
                Database.open(trade_url, SystemClock()) as database,
                present(database),
                broker.consume(TRADE_QUEUE, 1),
            ):
                with_both = await troubles(where)
        async with (
            Database.open(trade_url, SystemClock()) as database,
            present(database),
            broker.consume(TRADE_QUEUE, 1),
        ):
            alone = await troubles(where)

    assert f"not Paybell's take messages that trade would apply: 1 of {TRADE_QUEUE}" in with_both["listeners"]
    assert "do not run the role trade" in with_both["listeners"]
    assert "listeners" not in alone


async def test_a_broker_that_is_away(sound: dict[str, Any]) -> None:
    found = await troubles(sound, broker_url=f"amqp://guest:guest@127.0.0.1:{free_port()}/%2f")

    assert set(found) == {"broker"}
    assert "PAYBELL_BROKER_URL" in found["broker"]


async def test_a_wrong_password_of_the_broker(sound: dict[str, Any], rabbitmq_url: str) -> None:
    found = await troubles(sound, broker_url=at(rabbitmq_url, password="no-secret"))

    assert set(found) == {"broker"}
    assert "PAYBELL_BROKER_URL" in found["broker"]
    assert "no-secret" not in found["broker"]


async def test_a_queue_with_foreign_arguments(sound: dict[str, Any], rabbitmq_url: str) -> None:
    with stranger(rabbitmq_url) as outside:
        outside.forget(topology())
        outside.channel.queue_declare(TRADE_QUEUE, durable=True, arguments={"x-max-length": 5})
        try:
            found = [one async for one in examine(SystemClock(), {}, **sound | {"broker_url": rabbitmq_url})]
        finally:
            outside.forget(topology())

    (refused,) = [one for one in found if one.state == "error"]
    assert refused.part == "topology"
    assert TRADE_QUEUE in refused.what
    assert "PRECONDITION_FAILED" in refused.what
    assert "rabbitmqctl set_policy" in refused.advice


@asynccontextmanager
async def node() -> AsyncIterator[RabbitmqNode]:
    """Run a node of this test's own."""
    ensure_installed(print)
    started = await asyncio.to_thread(RabbitmqNode.start)
    try:
        yield started
    finally:
        await asyncio.to_thread(started.close)


async def test_a_user_without_rights_and_a_broker_in_alarm(sound: dict[str, Any]) -> None:
    async with node() as own:
        own.ctl("add_user", "limited", "limited")
        own.ctl("set_permissions", "limited", "nothing", ".*", ".*")
        url = at(own.url, user="limited", password="limited")
        limited = await troubles(sound, broker_url=url)
        own.ctl("set_permissions", "limited", ".*", "^trade", ".*")
        mute = await troubles(sound, broker_url=url)
        await asyncio.to_thread(own.block, "disk")
        alarmed = await troubles(sound, broker_url=own.url)

    assert set(limited) == {"topology"}
    assert "access" in limited["topology"].lower()
    assert "set_permissions" in limited["topology"]
    assert "delete" not in limited["topology"]
    assert set(mute) == {"broker"}
    assert mute["broker"].startswith("RabbitMQ does not let us publish to pay.events: 403 ACCESS_REFUSED")
    assert "alarm" not in mute["broker"]
    assert set(alarmed) == {"broker"}
    assert "alarm" in alarmed["broker"]


async def test_the_command_says_it_in_a_table_and_in_json(sound: dict[str, Any], tmp_path: Path) -> None:
    well, table = await run("doctor", log=tmp_path / "table", **sound)
    broken = sound | {"database_url": f"postgresql://paybell@127.0.0.1:{free_port()}/paybell"}
    ill, said = await run("doctor", "--json", log=tmp_path / "json", **broken)

    assert (well, ill) == (0, 1)
    assert "schema as needed" in table
    answer = json.loads(said.splitlines()[-1])
    assert answer["ok"] is False
    assert [one["part"] for one in answer["findings"] if one["state"] == "error"] == ["pay database"]
