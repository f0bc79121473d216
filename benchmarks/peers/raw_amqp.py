"""(e) The limit of this machine for relay and listener: publish and consume as fast as Python can.

The client is pika (asyncio adapter), the cheapest in CPU of those tried here with Paybell's two messages:
about half of py-amqp, a quarter of aiormq. Properties are made once and used for all; publishing is
mandatory, persistent, confirmed, two windows of 1,000 messages on their way; consuming acknowledges 250 at
a time of 1,000 unsettled.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pika
import uvloop
from pika.adapters.asyncio_connection import AsyncioConnection

from benchmarks.books import agree
from benchmarks.child import Meter, ready, serve
from benchmarks.processes import child
from benchmarks.servers import Servers

_WINDOW = 1_000
_PREFETCH, _ACK_EVERY = 1_000, 250
_DIRECT, _TOPIC, _QUEUE, _KEY = "raw.direct", "raw.topic", "raw.queue", "pay.success"
_TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-00"
# The sizes and properties of Paybell's messages: the bare number, and the typed event nobody has bound to.
_BARE_BODY = b"600000000000012345"
_TYPED_BODY = b"x" * 680
_BARE_HEADERS = {
    "__TypeId__": "java.lang.Long",
    "cloudEvents:id": "700000000000012345-2",
    "cloudEvents:source": "/paybell/pay",
    "cloudEvents:type": "pay.success",
    "cloudEvents:time": "2026-01-31T12:00:00.000Z",
    "cloudEvents:specversion": "1.0",
    "traceparent": _TRACE,
    "paybell-signature": "0" * 64,
}


def _properties(content_type: str, headers: dict[str, str]) -> Any:
    return pika.BasicProperties(
        content_type=content_type,
        content_encoding="UTF-8",
        headers=headers,
        delivery_mode=2,
        message_id="700000000000012345-2#0123456789ab.d",
        timestamp=1769860800,
        type="pay.success",
    )


async def rates(servers: Servers, events: int) -> dict[str, float]:
    """Publish two messages for each event and consume the one that has a queue; return messages per second.

    Raises:
        BooksWrong: a message was lost or came twice.
    """
    spec = {"url": servers.rabbitmq.url, "events": events}
    async with child(__name__, "publish") as one, child(__name__, "consume") as other:
        await asyncio.gather(one.prepare(spec), other.prepare(spec))
        published = await one.run()
        agree("raw publish", confirmed=(published["messages"], 2 * events))
        consumed = await other.run()
        agree("raw consume", messages=(consumed["messages"], events))
    agree("raw consume", left=(await servers.empty_queue(_QUEUE), 0))
    return {
        "rawPublish": 2 * events / (published["ended"] - published["started"]),
        "rawConsume": events / (consumed["ended"] - consumed["started"]),
    }


async def publish(spec: dict[str, Any]) -> dict[str, object]:
    """Publish and count the confirms."""
    connection, channel = await opened(spec["url"])
    await _declare(channel)
    total, sent, confirmed = 2 * spec["events"], 0, 0
    progress = asyncio.Event()

    def on_confirm(frame: Any) -> None:
        nonlocal confirmed
        assert isinstance(frame.method, pika.spec.Basic.Ack), "refused"
        confirmed = max(confirmed, frame.method.delivery_tag)
        progress.set()

    await _call(lambda done: channel.confirm_delivery(on_confirm, callback=done))
    bare = _properties("text/x-json", _BARE_HEADERS)
    typed = _properties("application/cloudevents+json", {"traceparent": _TRACE})
    await ready()
    meter = Meter()
    while confirmed < total:
        if sent < total and sent - confirmed <= _WINDOW:
            for _ in range(min(_WINDOW, total - sent) // 2):
                channel.basic_publish(_DIRECT, _KEY, _BARE_BODY, bare, mandatory=True)
                channel.basic_publish(_TOPIC, _KEY, _TYPED_BODY, typed)
                sent += 2
        else:
            progress.clear()
            await progress.wait()
    report = meter.report(messages=confirmed)
    connection.close()
    return report


async def consume(spec: dict[str, Any]) -> dict[str, object]:
    """Consume and acknowledge until all have come."""
    connection, channel = await opened(spec["url"])
    await _call(lambda done: channel.basic_qos(prefetch_count=_PREFETCH, callback=done))
    total, got, all_here = spec["events"], 0, asyncio.Event()

    def on_message(_channel: Any, method: Any, _properties: Any, _body: bytes) -> None:
        nonlocal got
        got += 1
        if got % _ACK_EVERY == 0 or got == total:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if got >= total:
            all_here.set()

    await ready()
    meter = Meter()
    channel.basic_consume(_QUEUE, on_message)
    await all_here.wait()
    report = meter.report(messages=got)
    closed = asyncio.get_running_loop().create_future()
    connection.add_on_close_callback(lambda *_: closed.set_result(None))
    connection.close()
    await closed
    return report


async def opened(url: str) -> tuple[Any, Any]:
    """Open a connection and a channel of it."""
    loop = asyncio.get_running_loop()
    opened = loop.create_future()
    AsyncioConnection(
        pika.URLParameters(url),
        on_open_callback=opened.set_result,
        on_open_error_callback=lambda _, error: opened.set_exception(error),
        custom_ioloop=loop,
    )
    connection = await opened
    return connection, await _call(lambda done: connection.channel(on_open_callback=done))


async def _declare(channel: Any) -> None:
    await _call(lambda done: channel.exchange_declare(_DIRECT, "direct", durable=True, callback=done))
    await _call(lambda done: channel.exchange_declare(_TOPIC, "topic", durable=True, callback=done))
    await _call(lambda done: channel.queue_declare(_QUEUE, durable=True, callback=done))
    await _call(lambda done: channel.queue_bind(_QUEUE, _DIRECT, _KEY, callback=done))


async def _call(ask: Callable[[Callable[[Any], None]], object]) -> Any:
    answered = asyncio.get_running_loop().create_future()
    ask(answered.set_result)
    return await answered


if __name__ == "__main__":
    uvloop.run(serve({"publish": publish, "consume": consume}[sys.argv[1]]))
