"""(f) The floor of the way to PAID: two processes that do the least which keeps the promise.

One commits a row and publishes it with a confirm; the other consumes it and commits a row. No HTTP, no token,
no password, no ledger, no outbox: no system with a database on both sides and a broker between can go below.
"""

import asyncio
import sys
import time
from collections.abc import Mapping
from typing import Any

import asyncpg
import pika
import uvloop

from benchmarks.books import agree
from benchmarks.child import Meter, ready, serve
from benchmarks.load import spread
from benchmarks.peers.raw_amqp import opened
from benchmarks.processes import child, cpu_seconds, postgres_cpu
from benchmarks.servers import Servers

_QUEUE, _PREFETCH, _CONNECTIONS = "bare.paid", 100, 8
_TICK_SECONDS = 0.001
# The first ones wait for connections' first statements.
_WARMUP = 20
_TABLES = """
CREATE TABLE bare_paid (number bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());
CREATE TABLE bare_marked (number bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())
"""


async def measure(servers: Servers, database: str, rate: float, seconds: float) -> dict[str, float]:
    """Do so many a second for so long.

    Returns:
        ``micros``: CPU for each, of both processes, PostgreSQL and RabbitMQ together; ``p50`` and ``p99``:
        from one commit to the other, in milliseconds.

    Raises:
        BooksWrong: something was lost.
    """
    await servers.execute(_TABLES, database)
    count = int(rate * seconds)
    spec = {"url": servers.url(database), "amqp": servers.rabbitmq.url, "rate": rate, "count": count}
    async with child(__name__, "pay") as paying, child(__name__, "mark") as marking:
        await paying.prepare(spec)
        await marking.prepare(spec)
        before = _servers_cpu(servers)
        marking.go()
        paid = await paying.run()
        marked = await marking.result()
        servers_cpu = _servers_cpu(servers) - before
    agree("bare", marked=(marked["marked"], count))
    await servers.empty_queue(_QUEUE)
    await servers.execute("DROP TABLE bare_paid, bare_marked", database)
    micros = (servers_cpu + paid["cpu"] + marked["cpu"]) / count * 1e6
    return {"micros": micros, "p50": marked["ms"]["p50"], "p99": marked["ms"]["p99"]}


def _servers_cpu(servers: Servers) -> float:
    return cpu_seconds([servers.rabbitmq.pid]) + sum(postgres_cpu(servers.postmaster).values())


async def pay(spec: dict[str, Any]) -> Mapping[str, object]:
    """Commit and publish at the rate, each when its time has come; wait for the last confirm."""
    pool = await asyncpg.create_pool(spec["url"], min_size=_CONNECTIONS, max_size=_CONNECTIONS)
    connection, channel = await opened(spec["amqp"])
    waiting: dict[int, asyncio.Future[None]] = {}

    def on_confirm(frame: Any) -> None:
        last, several = frame.method.delivery_tag, frame.method.multiple
        for tag in [tag for tag in waiting if tag == last or (several and tag < last)]:
            waiting.pop(tag).set_result(None)

    answered = asyncio.get_running_loop().create_future()
    channel.queue_declare(_QUEUE, durable=True, callback=answered.set_result)
    await answered
    answered = asyncio.get_running_loop().create_future()
    channel.confirm_delivery(on_confirm, callback=answered.set_result)
    await answered
    properties = pika.BasicProperties(delivery_mode=2)
    tag = 0

    async def one(number: int) -> None:
        nonlocal tag
        await pool.execute("INSERT INTO bare_paid (number) VALUES ($1)", number)
        tag += 1
        confirmed = waiting[tag] = asyncio.get_running_loop().create_future()
        channel.basic_publish("", _QUEUE, f"{number} {time.monotonic()}".encode(), properties)
        await confirmed

    await ready()
    meter, started, tasks = Meter(), time.monotonic(), list[asyncio.Task[None]]()
    while len(tasks) < spec["count"]:
        due = min(spec["count"], int((time.monotonic() - started) * spec["rate"]) + 1)
        tasks += [asyncio.create_task(one(number)) for number in range(len(tasks), due)]
        next_at = started + len(tasks) / spec["rate"]
        await asyncio.sleep(max(_TICK_SECONDS, next_at - time.monotonic()))
    await asyncio.gather(*tasks)
    report = meter.report()
    connection.close()
    await pool.close()
    return report


async def mark(spec: dict[str, Any]) -> Mapping[str, object]:
    """Commit what comes, one after the other, and acknowledge it."""
    rows = await asyncpg.connect(spec["url"])
    connection, channel = await opened(spec["amqp"])
    came: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
    answered = asyncio.get_running_loop().create_future()
    channel.basic_qos(prefetch_count=_PREFETCH, callback=answered.set_result)
    await answered
    channel.basic_consume(
        _QUEUE, lambda _channel, method, _properties, body: came.put_nowait((method.delivery_tag, body))
    )
    await ready()
    meter, seconds = Meter(), list[float]()
    while len(seconds) < spec["count"]:
        tag, body = await came.get()
        number, at = body.split()
        await rows.execute("INSERT INTO bare_marked (number) VALUES ($1) ON CONFLICT DO NOTHING", int(number))
        channel.basic_ack(tag)
        seconds.append(time.monotonic() - float(at))
    report = meter.report(marked=len(seconds), ms=spread(seconds[_WARMUP:]))
    connection.close()
    await rows.close()
    return report


if __name__ == "__main__":
    uvloop.run(serve({"pay": pay, "mark": mark}[sys.argv[1]]))
