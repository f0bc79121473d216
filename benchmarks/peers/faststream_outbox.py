"""(d) What one would take from PyPI for outbox → RabbitMQ → consumer: FastStream with faststream-outbox.

Set up as its documentation advises for throughput: autovacuum settings, several workers, batches of 100
claimed and removed at once. The relay and the consumer are processes of their own; the consumer marks orders
paid, one transaction for each message, as FastStream has no batches for RabbitMQ.
"""

import asyncio
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any

import uvloop
from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange, RabbitQueue
from faststream_outbox import OutboxBroker, make_outbox_table, outbox_autovacuum_ddl
from sqlalchemy import MetaData, text, update
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from benchmarks.books import agree
from benchmarks.child import Meter, ready, serve
from benchmarks.peers import article
from benchmarks.processes import child, together
from benchmarks.servers import Servers, connected

DATABASE = "faststream_pay"
_NAME = "FastStream"
_EXCHANGE = RabbitExchange("faststream.pay", type=ExchangeType.DIRECT, durable=True)
_QUEUE = RabbitQueue("faststream.pay.success.queue", durable=True, routing_key="pay.success")
_OUTBOX_QUEUE = "pay.success"
_WORKERS, _BATCH, _PREFETCH, _POOL = 8, 100, 100, 20

_metadata = MetaData()
_outbox = make_outbox_table(_metadata)
_log = logging.getLogger("faststream")
_log.setLevel(logging.WARNING)


async def prepare(servers: Servers, events: int) -> None:
    """Make the outbox and write so many events into it, as its own API does."""
    await servers.execute(f"CREATE DATABASE {DATABASE}")
    engine = create_async_engine(article.sqlalchemy_url(servers, DATABASE))
    broker = OutboxBroker(engine, outbox_table=_outbox, logger=_log)
    async with engine.begin() as connection:
        await connection.run_sync(_metadata.create_all)
        await connection.execute(text(outbox_autovacuum_ddl("outbox")))
    async with async_sessionmaker(engine).begin() as session:
        bodies = [{"bizOrderNo": str(600000000000000000 + n), "amount": 100} for n in range(1, events + 1)]
        await broker.publish_batch(*bodies, queue=_OUTBOX_QUEUE, session=session)
    await engine.dispose()
    async with connected(servers.url(DATABASE)) as connection:
        await connection.execute("VACUUM ANALYZE")


async def measure(servers: Servers, events: int) -> dict[str, float]:
    """Return how many events a second go from the outbox through RabbitMQ to a paid order.

    Raises:
        BooksWrong: an event was lost.
    """
    async with (
        servers.fresh(DATABASE) as outbox,
        servers.fresh(article.TRADE) as trade,
        together(child(__name__, "relay"), child(__name__, "consume")) as (relay_child, consumer),
    ):
        spec = {"broker": servers.rabbitmq.url, "events": events}
        await consumer.prepare(spec | {"url": article.sqlalchemy_url(servers, trade)})
        await relay_child.prepare(spec | {"url": article.sqlalchemy_url(servers, outbox)})
        sent, received = await asyncio.gather(relay_child.run(), consumer.run())
        async with connected(servers.url(outbox)) as connection:
            left = await connection.fetchval("SELECT count(*) FROM outbox")
        async with connected(servers.url(trade)) as connection:
            paid = await connection.fetchval(article.PAID_QUERY)
        agree(_NAME, left=(left, 0), paid=(paid, events), got=(received["got"], events))
    agree(_NAME, queued=(await servers.empty_queue(_QUEUE.name), 0))
    return {"faststream": events / (received["ended"] - sent["started"])}


async def relay(spec: dict[str, Any]) -> dict[str, object]:
    """Relay until the outbox is empty."""
    engine = create_async_engine(spec["url"], pool_size=_POOL, max_overflow=0)
    rabbit = RabbitBroker(spec["broker"], logger=_log)
    outbox = OutboxBroker(engine, outbox_table=_outbox, logger=_log)
    told, all_told = 0, asyncio.Event()

    @rabbit.publisher(_QUEUE.routing(), exchange=_EXCHANGE, persist=True)
    @outbox.subscriber(
        _OUTBOX_QUEUE,
        max_workers=_WORKERS,
        fetch_batch_size=_BATCH,
        terminal_flush_batch_size=_BATCH,
        min_fetch_interval=0.02,
        max_fetch_interval=1.0,
    )
    async def pass_on(body: dict[str, Any]) -> dict[str, Any]:
        nonlocal told
        told += 1
        if told == spec["events"]:
            all_told.set()
        return body

    await rabbit.connect()
    await ready()
    meter = Meter()
    await outbox.start()
    await all_told.wait()
    report = meter.report(told=told)
    await outbox.stop()  # removes what is published and not yet removed
    await rabbit.stop()
    await engine.dispose()
    return report


async def consume(spec: dict[str, Any]) -> dict[str, object]:
    """Mark orders paid as messages come."""
    engine = create_async_engine(spec["url"], pool_size=_POOL, max_overflow=0)
    sessions = article.sessions(engine)
    broker = RabbitBroker(spec["broker"], default_channel=Channel(prefetch_count=_PREFETCH), logger=_log)
    got, all_here = 0, asyncio.Event()

    @broker.subscriber(_QUEUE, _EXCHANGE)
    async def mark_order_paid(body: dict[str, Any]) -> None:
        nonlocal got
        async with sessions.begin() as session:
            await session.execute(
                update(article.Order)
                .where(article.Order.id == int(body["bizOrderNo"]), article.Order.status == article.UNPAID)
                .values(status=article.PAID, pay_time=datetime.now(UTC))
                .execution_options(synchronize_session=False)
            )
        got += 1
        if got == spec["events"]:
            all_here.set()

    await broker.start()
    await ready()
    meter = Meter()
    await all_here.wait()
    report = meter.report(got=got, ended=time.monotonic())
    await broker.stop()  # acknowledges what is done
    await engine.dispose()
    return report


if __name__ == "__main__":
    uvloop.run(serve({"relay": relay, "consume": consume}[sys.argv[1]]))
