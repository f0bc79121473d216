"""The servers every contender runs on: one embedded PostgreSQL, one private RabbitMQ."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import asyncpg
import pika

from benchmarks.processes import Spent, cpu_seconds, postgres_cpu
from paybell.messaging.events import TRADE_QUEUE
from paybell.storage.embedded import PAY_DATABASE, embedded_postgres, temporary_home
from paybell.testing.rabbitmq_install import ensure_installed
from paybell.testing.rabbitmq_node import RabbitmqNode

# Each connects as a user of its own, so that the CPU of its backends can be told apart, also from that of the
# harness, which is PostgreSQL's own user.
ROLES = ("bench_api", "bench_relay", "bench_trade", "bench_ops", "bench_all")


@dataclass(slots=True)
class Servers:
    """The running servers, and what one does with them between two measurements."""

    rabbitmq: RabbitmqNode
    postmaster: int
    _url: str
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    def url(self, database: str, user: str = "postgres") -> str:
        """Return the URL of a database."""
        return self._url.replace("//postgres:", f"//{user}:", 1).replace(
            f"/{PAY_DATABASE}?", f"/{database}?", 1
        )

    def spent(self, pids: Iterable[int]) -> Spent:
        """Return the CPU so far of these processes and of both servers, without what the harness asked."""
        backends = postgres_cpu(self.postmaster)
        backends.pop("postgres", None)
        return Spent(cpu_seconds(pids), sum(backends.values()), cpu_seconds([self.rabbitmq.pid]))

    @property
    def socket_folder(self) -> str:
        """Return the folder of PostgreSQL's socket, for its own programs."""
        match = re.search(r"host=([^&]+)", self._url)
        assert match, "the embedded server listens on a socket"
        return match[1]

    async def execute(self, statement: str, database: str = "postgres") -> None:
        """Run a statement that no transaction may surround."""
        async with connected(self.url(database)) as connection:
            await connection.execute(statement)

    @asynccontextmanager
    async def fresh(self, template: str) -> AsyncIterator[str]:
        """Make a copy of a database for one measurement; begin it with nothing left to write."""
        name = f"{template}_{next(self._numbers)}"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        await self.execute("CHECKPOINT")
        try:
            yield name
        finally:
            await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def empty_queue(self, queue: str = TRADE_QUEUE) -> int:
        """Delete a queue; return how many messages were still in it."""
        return await asyncio.to_thread(_delete_queue, self.rabbitmq.url, queue)

    async def queued(self, queue: str = TRADE_QUEUE) -> int:
        """Return how many messages are ready in a queue."""
        return await asyncio.to_thread(_count_ready, self.rabbitmq.url, queue)


@asynccontextmanager
async def running_servers() -> AsyncIterator[Servers]:
    """Start both, on data of their own in a temporary folder, with the settings Paybell ships."""
    await asyncio.to_thread(ensure_installed, print)
    starting = asyncio.create_task(asyncio.to_thread(RabbitmqNode.start))
    with temporary_home("paybell-bench-") as home:
        try:
            with embedded_postgres(home) as urls:
                postmaster = int((home / "postgres" / "postmaster.pid").read_text().split()[0])
                servers = Servers(await asyncio.shield(starting), postmaster, urls[PAY_DATABASE])
                for role in ROLES:
                    await servers.execute(f"CREATE ROLE {role} LOGIN SUPERUSER")
                yield servers
        finally:
            (await starting).close()


@asynccontextmanager
async def connected(url: str) -> "AsyncIterator[asyncpg.Connection[Any]]":
    """Open a connection of the harness's own; preparing and checking may take their time."""
    connection = await asyncpg.connect(url, timeout=30, command_timeout=900)
    try:
        yield connection
    finally:
        await connection.close()


def _delete_queue(url: str, queue: str) -> int:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        return int(connection.channel().queue_delete(queue).method.message_count or 0)


def _count_ready(url: str, queue: str) -> int:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        return int(connection.channel().queue_declare(queue, passive=True).method.message_count)
