"""Connecting to RabbitMQ or to what stands in its place: what is refused, away or not to be trusted."""

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import uvloop
from amqp import QUEUE, TOPOLOGY, at, everything, line, message, rabbit
from support import until

from paybell.errors import BrokerUnavailable, Misconfigured
from paybell.messaging.broker import Confirm
from paybell.messaging.rabbitmq import connection
from paybell.messaging.rabbitmq.broker import RabbitBroker

pytestmark = pytest.mark.rabbitmq


@pytest.mark.parametrize(
    "wrong", [{"password": "no-secret"}, {"user": "nobody"}, {"vhost": "nowhere"}], ids=str
)
async def test_who_is_refused_hears_what_to_correct(rabbitmq_url: str, wrong: dict[str, str]) -> None:
    """Without the password in the message."""
    broker = RabbitBroker(at(rabbitmq_url, **wrong))

    with pytest.raises(Misconfigured, match="PAYBELL_BROKER_URL") as refused:
        await broker.declare(TOPOLOGY)
    assert "no-secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["", "guest@localhost", "http://localhost", "amqp://localhost:port", "amqp://localhost,amqp://h:99999"],
)
async def test_a_url_that_is_none_is_the_operators_to_correct(url: str) -> None:
    with pytest.raises(Misconfigured, match="PAYBELL_BROKER_URL"):
        RabbitBroker(url)


@asynccontextmanager
async def impostor(says: bytes | None) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Listen without being a broker; yields the URL and whether every client has left again."""
    left = asyncio.Event()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if says is not None:
            writer.write(says)
            writer.close()
        with suppress(ConnectionError):
            await reader.read()
        left.set()
        writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    yield f"amqp://guest:guest@127.0.0.1:{server.sockets[0].getsockname()[1]}/%2f", left
    server.close()


@pytest.mark.parametrize(
    "says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", None], ids=["bye", "http", "nothing"]
)
async def test_what_does_not_answer_as_a_broker_is_away(
    says: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever listens there, the wait is bounded and no connection stays behind."""
    monkeypatch.setattr(connection, "ANSWER_TIMEOUT_SECONDS", 0.2)
    async with asyncio.timeout(5), impostor(says) as (url, left):
        with pytest.raises(BrokerUnavailable, match="PAYBELL_BROKER_URL"):
            await RabbitBroker(url).declare(TOPOLOGY)
        await left.wait()


async def test_who_gives_up_at_the_moment_a_name_is_found_leaves_no_connection_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client's own question is answered then, and cannot be called off; a busy machine does it."""
    loop = asyncio.get_running_loop()
    asked, found = asyncio.Event(), loop.create_future()

    async def ask(*_: object, **__: object) -> object:
        asked.set()
        return await found

    async with asyncio.timeout(10), impostor(None) as (url, left):
        port = int(url.rpartition(":")[2].partition("/")[0])
        addresses = await loop.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)
        monkeypatch.setattr(loop, "getaddrinfo", ask)
        opening = connection.Connection(connection.parse_url(url), on_open_error_callback=lambda *_: None)
        await asked.wait()
        found.set_result(addresses)
        await asyncio.sleep(0)  # now the question is answered, and nobody has heard
        opening.close()
        await left.wait()


async def test_a_deadline_bounds_the_connecting_too() -> None:
    """And leaves no connection behind."""
    async with asyncio.timeout(4), impostor(None) as (url, left):
        with pytest.raises(BrokerUnavailable):
            await RabbitBroker(url).publish([message()], 0.1)
        await left.wait()


async def test_a_host_that_is_unknown_is_away() -> None:
    with pytest.raises(BrokerUnavailable, match=r"no-such-host\.invalid:5672"):
        await RabbitBroker("amqp://no-such-host.invalid").publish([message()], 10)


async def test_of_several_hosts_the_one_that_answers_is_taken(rabbitmq_url: str) -> None:
    """Whichever it is; six dead ones make it unlikely to be met first by luck."""
    dead = ["amqp://127.0.0.1:1"] * 6
    async with rabbit(rabbitmq_url, through=",".join([*dead[:3], rabbitmq_url, *dead[3:]])) as broker:
        await broker.declare(TOPOLOGY)

        assert await broker.publish([message()], 10) == [Confirm.CONFIRMED]
        assert broker.connected


async def test_tls_is_verified_and_carries_large_batches(
    rabbitmq_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=test"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make.split(), *names], check=True, capture_output=True)  # noqa: ASYNC221, S603
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    async with line(rabbitmq_url, tls=tls) as proxy:
        url = proxy.url.replace("amqp://", "amqps://")
        with pytest.raises(BrokerUnavailable, match="certificate"):
            await RabbitBroker(url).declare(TOPOLOGY)

        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with rabbit(rabbitmq_url, through=url) as broker:
            await broker.declare(TOPOLOGY)
            messages = [message(b"%d" % number * 1_000) for number in range(2_000)]
            assert await broker.publish(messages, 20) == [Confirm.CONFIRMED] * 2_000
            assert await everything(broker) == [one.body for one in messages]


async def test_closing_lets_go_of_both_connections(rabbitmq_url: str) -> None:
    async with line(rabbitmq_url) as proxy, rabbit(rabbitmq_url, through=proxy.url) as broker:
        await broker.declare(TOPOLOGY)
        async with broker.consume(QUEUE.name, 10):
            assert proxy.open == 2

        await broker.close()

        assert not broker.connected
        await until(proxy.idle)


def test_it_works_on_the_loop_that_servers_use(rabbitmq_url: str) -> None:
    async def run() -> None:
        async with rabbit(rabbitmq_url) as broker:
            await broker.declare(TOPOLOGY)
            messages = [message(str(number).encode()) for number in range(1_000)]
            assert await broker.publish(messages, 10) == [Confirm.CONFIRMED] * 1_000
            assert await everything(broker) == [one.body for one in messages]

    uvloop.run(run())
