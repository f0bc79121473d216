"""RabbitMQ from outside: the plain client of a stranger, and a line that can fall silent."""

import asyncio
import secrets
import ssl
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any
from urllib.parse import quote

import pika

from paybell.messaging.broker import Binding, Confirm, Exchange, Message, Queue, Topology
from paybell.messaging.rabbitmq.broker import RabbitBroker


class Stranger:
    """A blocking connection of pika's own."""

    def __init__(self, connection: Any) -> None:
        """Use `stranger`."""
        self.connection = connection
        self.channel = connection.channel()

    def publish(
        self, exchange: str, key: str, body: bytes, properties: pika.BasicProperties | None = None
    ) -> None:
        """Publish like somebody who neither confirms nor minds."""
        self.channel.basic_publish(exchange, key, body, properties)

    def take(self, queue: str) -> list[tuple[Any, bytes]]:
        """Take everything out of a queue: properties and bodies."""
        taken = []
        while (got := self.channel.basic_get(queue, auto_ack=True))[0] is not None:
            taken.append((got[1], got[2]))
        return taken

    def depth(self, queue: str) -> int:
        """Return how many messages wait in a queue for a consumer."""
        return int(self.channel.queue_declare(queue, passive=True).method.message_count)

    def forget(self, topology: Topology) -> None:
        """Delete what this topology names."""
        for binding in topology.bindings:
            self.channel.queue_delete(binding.queue.name)
        for exchange in topology.exchanges:
            self.channel.exchange_delete(exchange.name)


@contextmanager
def stranger(url: str) -> Iterator[Stranger]:
    """Connect beside Paybell."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        yield Stranger(connection)
    finally:
        connection.close()


@asynccontextmanager
async def rabbit(url: str, *, through: str = "", only_looks: bool = False) -> AsyncIterator[RabbitBroker]:
    """Open our own broker object, and delete at the end whatever was declared with it.

    ``through`` is another URL of the same broker, behind a `line`.
    """
    declared: list[Topology] = []

    class Remembering(RabbitBroker):
        async def declare(self, topology: Topology) -> None:
            declared.append(topology)
            await super().declare(topology)

    broker = Remembering(through or url, only_looks=only_looks)
    try:
        yield broker
    finally:
        await broker.close()
        if declared:
            with stranger(url) as other:
                for topology in declared:
                    other.forget(topology)


def unique(name: str) -> str:
    """Make a name that no other test uses at the same broker."""
    return f"test-{secrets.token_hex(4)}-{name}"


class Raw(pika.BasicProperties):  # type: ignore[misc]
    """Properties with a header table of these bytes, and a message id."""

    def __init__(self, table: bytes, message_id: bytes = b"") -> None:
        """Take what stands after the length of the table."""
        self.table = table
        self.id = message_id

    def encode(self) -> list[bytes]:
        """Encode nothing but these (AMQP 0-9-1, 4.2.6.1: flags, then the properties in their order)."""
        flags = pika.BasicProperties.FLAG_HEADERS | pika.BasicProperties.FLAG_MESSAGE_ID
        return [struct.pack(">HI", flags, len(self.table)), self.table, bytes([len(self.id)]), self.id]


def nested(levels: int) -> bytes:
    """Return a header table in a header table and so on."""
    table = b""
    for _ in range(levels):
        table = b"\x01nF" + struct.pack(">I", len(table)) + table
    return table


@dataclass(slots=True)
class Line:
    """A TCP proxy: ``silent`` keeps both connections open and passes nothing on, as a cable that was cut."""

    url: str
    open: int = 0
    held: int = 0
    refusing: bool = False
    passing: asyncio.Event = field(default_factory=asyncio.Event)
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def idle(self) -> bool:
        """Say whether every connection has ended."""
        return self.open == 0

    async def holds(self) -> bool:
        """Say whether something waits to be passed on."""
        return self.held > 0

    def fall_silent(self) -> None:
        """Pass nothing on any more, not even that a side has left."""
        self.passing.clear()

    def recover(self) -> None:
        """Pass on again, also what has gathered, and let new connections in."""
        self.refusing = False
        self.passing.set()

    def leave_behind(self) -> None:
        """Let new connections in; those that are there stay as they are for good."""
        self.passing = asyncio.Event()
        self.passing.set()

    def refuse(self) -> None:
        """Reset new connections at once, as when nobody listens."""
        self.refusing = True

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            with suppress(AttributeError):  # Python 3.11.2, of TLS that has ended already
                writer.transport.abort()

    async def serve(self, host: str, port: int, ends: Sequence[Any]) -> None:
        """Pass one connection on."""
        reader, writer = ends
        if self.refusing:
            writer.transport.abort()
            return
        self.open += 1
        far_reader, far_writer = await asyncio.open_connection(host, port)
        self._writers += [writer, far_writer]
        passing = self.passing
        await asyncio.gather(self._pass(reader, far_writer, passing), self._pass(far_reader, writer, passing))
        self.open -= 1

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passing: asyncio.Event
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                self.held += 1
                await passing.wait()
                self.held -= 1
                writer.write(data)
        await passing.wait()
        writer.close()


@asynccontextmanager
async def line(url: str, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Line]:
    """Put a line in front of the broker of a URL; with ``tls`` it ends that, as a load balancer does."""
    parameters = pika.URLParameters(url)
    tasks: set[asyncio.Task[None]] = set()

    def accept(*ends: Any) -> None:
        tasks.add(asyncio.create_task(proxy.serve(parameters.host, parameters.port, ends)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    place = f"{parameters.host}:{parameters.port}"
    proxy = Line(url.replace(place, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    proxy.recover()
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# A queue of these tests' own -----------------------------------------------------------------------

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EXCHANGE = Exchange(unique("direct"))
QUEUE = Queue(unique("queue"))
TOPOLOGY = Topology([EXCHANGE], [Binding(QUEUE, EXCHANGE, "paid")])
ids = count(1)


def message(body: bytes = b"1") -> Message:
    return Message(EXCHANGE.name, "paid", body, f"message-{next(ids)}", "text/plain", "pay.success", NOON)


async def everything(broker: RabbitBroker) -> list[bytes]:
    """Consume all that waits; the last of it is a message published for the purpose."""
    last, bodies = unique("last").encode(), list[bytes]()
    assert await broker.publish([message(last)], 10) == [Confirm.CONFIRMED]
    async with broker.consume(QUEUE.name, 1_000) as consumer:
        while last not in bodies[-1_000:]:
            async with asyncio.timeout(20):  # however many there are: it goes on
                deliveries = await consumer.receive(1_000)
            bodies += [delivery.body for delivery in deliveries]
            await consumer.acknowledge(deliveries)
    return bodies[:-1]


def at(url: str, **changes: str) -> str:
    """Change parts of an AMQP URL."""
    parts = pika.URLParameters(url)
    user = changes.get("user", parts.credentials.username)
    password = changes.get("password", parts.credentials.password)
    host = changes.get("vhost", quote(parts.virtual_host, safe=""))
    return f"amqp://{user}:{password}@{parts.host}:{parts.port}/{host}"
