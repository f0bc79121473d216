"""The listener for Spring Boot in examples/ does what it says, where Maven has what it is made of."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pika
import pytest
from amqp import stranger
from faults import CuttingProxy
from notebook import event_members
from support import Databases, admin, connected, until

from paybell.messaging.events import PAY_EVENTS, PAY_SUCCESS, SIGNATURE_HEADER
from paybell.messaging.signatures import EventKeys

EXAMPLE = Path(__file__).parents[2] / "examples" / "spring-listener"
KEYS = "2026a:" + "k" * 32
DATABASE = "paybell_points"
# What a Java process ends with that SIGTERM has ended in good order.
ENDED = 143
pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The example as one file, built of what Maven has here; nothing is downloaded."""
    if not (shutil.which("java") and shutil.which("mvn")):
        pytest.skip("no java and mvn here")
    project = shutil.copytree(EXAMPLE, tmp_path / "project", ignore=shutil.ignore_patterns("target"))
    command = ["mvn", "--batch-mode", "--quiet", "--offline", "package"]
    built = subprocess.run(  # noqa: S603 - found on PATH
        command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if built.returncode and "in offline mode" in built.stdout:
        pytest.skip("Maven has no Spring Boot here: mvn package in examples/spring-listener brings it once")
    assert built.returncode == 0, built.stdout[-3000:]
    return Path(project) / "target" / "spring-listener.jar"


@pytest.fixture
async def points(postgres: Databases) -> AsyncIterator[tuple[str, str]]:
    """A database of the listener's own: its URL, and the one for Java, which knows no Unix sockets."""
    url = postgres.pay.replace("/paybell_pay", f"/{DATABASE}")
    await admin(url, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)", f"CREATE DATABASE {DATABASE}")
    proxy = CuttingProxy(url, f"{url.partition('?host=')[2]}/.s.PGSQL.5432")
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield url, f"jdbc:postgresql://127.0.0.1:{port}/{DATABASE}?user=postgres"


@asynccontextmanager
async def listening(program: Path, amqp_url: str, jdbc_url: str) -> AsyncIterator[None]:
    """Run the listener once it listens, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *("java", "-jar", program),
        env=os.environ
        | {
            # Spring Boot reads the name of a virtual host as it stands, and none as "/".
            "SPRING_RABBITMQ_ADDRESSES": amqp_url.removesuffix("%2f"),
            "SPRING_DATASOURCE_URL": jdbc_url,
            "LISTENER_KEYS": f"new:{'l' * 32},{KEYS}",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout
    said = ""
    try:
        while "Started PointsApplication" not in said:
            line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
            assert line, said
            said += line
        yield
    finally:
        process.terminate()
        await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == ENDED


async def test_the_listener_in_spring_counts_each_payment_once_and_nothing_else(
    program: Path, rabbitmq_url: str, points: tuple[str, str]
) -> None:
    """What comes again, also while it is away, changes nothing; what is no payment of ours is put aside."""
    url, jdbc_url = points
    first, second = (msgspec.json.encode(event_members(name)) for name in ("1001-2", "1002-2"))
    closed = msgspec.json.encode(event_members("1003-2") | {"type": "pay.closed"})
    forged = first.replace(b'"amount":100', b'"amount":99900').replace(b"1001-2", b"1002-2")
    assert len(forged) > len(first)

    async def seen(query: str) -> list[tuple[Any, ...]]:
        async with connected(url) as connection:
            return [tuple(row) for row in await connection.fetch(query)]

    with stranger(rabbitmq_url) as broker:

        def publish(body: bytes, signed: bytes, key: str = PAY_SUCCESS) -> None:
            headers = {SIGNATURE_HEADER: EventKeys(KEYS).sign_event(signed)}
            broker.publish(PAY_EVENTS.name, key, body, pika.BasicProperties(headers=headers))

        async def three_are_aside() -> bool:
            return await seen("SELECT count(*) FROM aside") == [(3,)]

        async def two_points() -> bool:
            return await seen("SELECT points FROM points WHERE user_id = '7'") == [(2,)]

        async with listening(program, rabbitmq_url, jdbc_url):
            publish(closed, closed, "pay.closed")
            for body, signed in ((first, first), (forged, first), (closed, closed), (b"{", b"{")):
                publish(body, signed)
            publish(first, first)
            await until(three_are_aside)
        for body in (first, second):
            publish(body, body)
        async with listening(program, rabbitmq_url, jdbc_url):
            await until(two_points)
        assert await seen("SELECT event_id FROM inbox ORDER BY 1") == [("1001-2",), ("1002-2",)]
        assert await seen("SELECT body, reason FROM aside ORDER BY id") == [
            (forged, "not_signed"),
            (closed, "not_a_payment"),
            (b"{", "unreadable"),
        ]
        assert broker.depth("points.queue") == 0
        broker.channel.queue_delete("points.queue")
