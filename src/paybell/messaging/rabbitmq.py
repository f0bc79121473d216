"""RabbitMQ through pika's asyncio adapter: the one file that knows the AMQP client.

Two connections, because RabbitMQ holds back a blocked publisher's whole connection and must
not hold back our acknowledgements with it (https://www.rabbitmq.com/docs/alarms). A Basic.Return
always comes before the Basic.Ack of the same message (https://www.rabbitmq.com/docs/confirms) and
is matched by its unique message_id.
"""

import asyncio
import random
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import lru_cache, partial
from typing import Any

import pika
from pika import exceptions as amqp
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from paybell.errors import BrokerUnavailable, Misconfigured
from paybell.messaging.broker import (
    BODY_MAX,
    Binding,
    Confirm,
    Consumer,
    Delivery,
    Exchange,
    Message,
    Topology,
)
from paybell.messaging.confirms import ConfirmLedger

# For each step of connecting and declaring; a broker nearby takes milliseconds.
ANSWER_TIMEOUT_SECONDS = 5.0
# The broker says something twice in this time; a connection that misses three such signs of life in a row
# is given up. The client's own check takes up to four times as long. `?heartbeat=` in the URL overrides it.
HEARTBEAT_SECONDS = 4
SIGNS_MISSED_MAX = 3
# A subscription can end without a word of the broker. One that brings nothing for so long is made anew,
# which costs an idle listener two round trips, and finds a dead connection sooner than heartbeats do.
RENEW_SECONDS = 5.0
# A goodbye is a courtesy: what was not settled comes again with or without it.
CLOSE_TIMEOUT_SECONDS = 2.0


class RabbitBroker:
    """RabbitMQ as a `Broker`; connects when needed, again after every loss."""

    def __init__(self, urls: str) -> None:
        """Take one or more AMQP URLs, separated by commas.

        Raises:
            Misconfigured: one of them is none.
        """
        self._hosts = [_parameters(url.strip()) for url in urls.split(",")]
        self._publisher: _Publisher | None = None
        self._consuming: _Link | None = None
        self._connecting = asyncio.Lock()

    @property
    def connected(self) -> bool:
        """Say whether there is a connection for publishing that no alarm holds back."""
        publisher = self._publisher
        return publisher is not None and not publisher.link.lost.done() and not publisher.link.blocked

    async def declare(self, topology: Topology) -> None:
        """Make what is missing; see `Broker.declare`."""
        link = (await self._open_publisher()).link
        if link.blocked:  # it is not read until the alarm is over, and whoever consumes may help to end it
            link = await self._open_consuming()
        for exchange in topology.exchanges:
            await _declare_exchange(link, exchange)
        for binding in topology.bindings:
            await _declare_binding(link, binding)

    async def publish(self, messages: Sequence[Message], deadline_seconds: float) -> Sequence[Confirm]:
        """Publish with pipelined confirms and ``mandatory``; see `Broker.publish`."""
        try:
            async with asyncio.timeout(deadline_seconds):
                publisher = await self._open_publisher()
        except TimeoutError as error:
            raise BrokerUnavailable("RabbitMQ does not answer in time.") from error
        if publisher.link.blocked:
            raise BrokerUnavailable("RabbitMQ blocks publishers: its memory or disk alarm is on.")
        return await publisher.publish(messages, deadline_seconds) if messages else []

    @asynccontextmanager
    async def consume(self, queue: str, prefetch: int) -> AsyncIterator[Consumer]:
        """Subscribe on a channel of its own; see `Broker.consume`."""
        channel = await (await self._open_consuming()).channel()
        consumer = _RabbitConsumer(channel)
        try:
            await consumer.start(queue, prefetch)
            yield consumer
        finally:
            consumer.close()

    async def close(self) -> None:
        """Say goodbye on both connections; `CLOSE_TIMEOUT_SECONDS` at most."""
        links = [self._publisher and self._publisher.link, self._consuming]
        await asyncio.gather(*(link.close() for link in links if link))

    async def _open_publisher(self) -> "_Publisher":
        async with self._connecting:
            if self._publisher is None or self._publisher.link.lost.done():
                self._publisher = await _Publisher.open(await _Link.open(self._hosts))
            return self._publisher

    async def _open_consuming(self) -> "_Link":
        async with self._connecting:
            if self._consuming is None or self._consuming.lost.done():
                self._consuming = await _Link.open(self._hosts)
            return self._consuming


# Connections and channels ------------------------------------------------------------------------


class _Link:
    """One AMQP connection, with the fact of its loss as a future."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.blocked = False
        connection.add_on_close_callback(self._on_close)
        connection.add_on_connection_blocked_callback(lambda *_: self._set_blocked(True))
        connection.add_on_connection_unblocked_callback(lambda *_: self._set_blocked(False))
        if connection.params.heartbeat:
            self._expect_life(-1, 0)

    @classmethod
    async def open(cls, hosts: Sequence[Any]) -> "_Link":
        """Connect to the first of the hosts that answers, beginning anywhere.

        Raises:
            BrokerUnavailable: none does.
            Misconfigured: none does, because of the user, the password or the virtual host.
        """
        failures = []
        refused = False
        for host in random.sample(hosts, len(hosts)):
            try:
                return cls(await _connect(host))
            except (amqp.AMQPError, AMQPConnectorException, OSError) as error:
                cause = _cause(error)
                failures.append(f"{host.host}:{host.port}: {cause}")
                # The client says "probably refused" also of a broker that died during the greeting.
                refused = refused or "ClosedByBroker" in cause
        said = "; ".join(failures)
        if refused:
            raise Misconfigured(f"RabbitMQ refuses us, check PAYBELL_BROKER_URL. {said}")
        raise BrokerUnavailable(f"RabbitMQ cannot be reached, start it or correct PAYBELL_BROKER_URL. {said}")

    def _expect_life(self, heard: int, missed: int) -> None:
        hears = self._connection.bytes_received
        missed = missed + 1 if hears == heard else 0
        if missed >= SIGNS_MISSED_MAX:
            self.lose("RabbitMQ shows no sign of life")
        elif not self.lost.done():
            wait_seconds = self._connection.params.heartbeat / 2
            asyncio.get_running_loop().call_later(wait_seconds, self._expect_life, hears, missed)

    def _set_blocked(self, blocked: bool) -> None:
        self.blocked = blocked

    def _on_close(self, _connection: object, reason: object) -> None:
        _resolve(self._closed, str(reason))
        _resolve(self.lost, str(reason))

    def lose(self, reason: str) -> None:
        """Give the connection up; what still travels on it may or may not arrive."""
        _resolve(self.lost, reason)
        if self._connection.is_open:
            self._connection.close()

    async def close(self) -> None:
        """Give the connection up, and wait a little for the broker to hear of it."""
        self.lose("closed by us")
        await asyncio.wait([self._closed], timeout=CLOSE_TIMEOUT_SECONDS)

    async def channel(self) -> "_Channel":
        """Open a channel.

        Raises:
            BrokerUnavailable: the connection is gone.
        """
        opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        with suppress(amqp.AMQPError):  # what is wrong is known to `lost`
            self._connection.channel(on_open_callback=partial(_resolve, opened))
        await self.wait_for(opened)
        return _Channel(self, opened.result())

    async def wait_for(
        self, answer: "asyncio.Future[Any]", other: "asyncio.Future[Any] | None" = None
    ) -> None:
        """Wait for one of these, but not past the end of the connection.

        Raises:
            BrokerUnavailable: neither came.
        """
        awaited = [future for future in (answer, other, self.lost) if future is not None]
        done, _ = await asyncio.wait(
            awaited, timeout=ANSWER_TIMEOUT_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            self.lose(f"no answer within {ANSWER_TIMEOUT_SECONDS:g} s")
        if not (answer.done() or (other is not None and other.done())):
            raise BrokerUnavailable(f"The connection to RabbitMQ was lost: {self.lost.result()}")


class _Channel:
    """A channel, with the fact of its end as a future."""

    def __init__(self, link: _Link, raw: Any) -> None:
        self.link = link
        self.raw = raw
        self.ended: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        raw.add_on_close_callback(lambda _, reason: _resolve(self.ended, reason))

    async def call(self, method: Callable[..., object], *arguments: object, **named: object) -> None:
        """Call one of the client's methods that take a ``callback``, and wait for it.

        Raises:
            ChannelClosedByBroker: refused.
            BrokerUnavailable: the connection is gone.
        """
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        with suppress(amqp.ChannelWrongStateError, amqp.ConnectionWrongStateError):  # `ended` or `lost` tells
            method(*arguments, **named, callback=partial(_resolve, answered))
        await self.link.wait_for(answered, self.ended)
        if not answered.done():
            reason = self.ended.result()
            raise reason if isinstance(reason, amqp.ChannelClosedByBroker) else BrokerUnavailable(str(reason))

    def close(self) -> None:
        """Close it, without waiting."""
        with suppress(amqp.AMQPError):
            self.raw.close()


class _Connection(AsyncioConnection):  # type: ignore[misc]
    """The client's connection with two changes; without them it is slower and less patient, but right.

    What one turn of the event loop writes goes to the kernel in one call, where the client makes
    three for each message: half of its cost. And a message with headers that the client cannot decode
    comes without its properties, where the client ends the connection, again and again, because the
    message comes again.
    """

    def __init__(self, parameters: Any, **callbacks: Any) -> None:
        self._unsent: list[bytes] = []
        self._own_loop = asyncio.get_running_loop()
        super().__init__(parameters, **callbacks, custom_ioloop=self._own_loop)

    def _adapter_emit_data(self, data: bytes) -> None:
        if not self._unsent:
            self._own_loop.call_soon(self._send)
        self._unsent.append(data)

    def _send(self) -> None:
        data = b"".join(self._unsent)
        self._unsent.clear()
        if not self.is_closed:
            super()._adapter_emit_data(data)

    def _read_frame(self) -> tuple[int, Any]:
        try:
            read: tuple[int, Any] = pika.frame.decode_frame(self._frame_buffer)
        except Exception:  # whatever it is, the same bytes would bring it again
            kind, channel, size = struct.unpack_from(">BHI", self._frame_buffer)
            if kind != pika.spec.FRAME_HEADER:
                raise
            body_size = struct.unpack_from(">Q", self._frame_buffer, _FRAME_START + 4)[0]
            header = pika.frame.Header(channel, body_size, pika.BasicProperties())
            return _FRAME_START + size + _FRAME_END, header
        return read


_FRAME_START, _FRAME_END = pika.spec.FRAME_HEADER_SIZE, pika.spec.FRAME_END_SIZE


def _parameters(url: str) -> Any:
    if not url.startswith(("amqp://", "amqps://")):
        raise Misconfigured("PAYBELL_BROKER_URL must hold amqp://… or amqps://… URLs, separated by commas.")
    try:
        parameters = pika.URLParameters(url)
    except (ValueError, TypeError) as error:
        raise Misconfigured(f"PAYBELL_BROKER_URL holds a URL that cannot be read: {error}.") from error
    if parameters.heartbeat is None:
        parameters.heartbeat = HEARTBEAT_SECONDS
    parameters.connection_attempts = 1
    parameters.client_properties = {"connection_name": "paybell"}
    return parameters


async def _connect(parameters: Any) -> Any:
    opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    connection = _Connection(
        parameters,
        on_open_callback=partial(_resolve, opened),
        on_open_error_callback=lambda _, error: _resolve(opened, error),
    )
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
            await opened
    except (TimeoutError, asyncio.CancelledError):
        with suppress(amqp.ConnectionWrongStateError):
            connection.close()
        raise
    if isinstance(opened.result(), Exception):
        raise opened.result()
    return connection


def _cause(error: BaseException) -> str:
    """Say what is at the bottom of the client's nested complaints."""
    inner = [*getattr(error, "exceptions", ()), getattr(error, "exception", None), *error.args[:1]]
    causes = [cause for cause in inner if isinstance(cause, Exception)]
    return _cause(causes[-1]) if causes else str(error) or type(error).__name__


def _resolve(future: "asyncio.Future[Any]", value: object) -> None:
    if not future.done():
        future.set_result(value)


# Publishing --------------------------------------------------------------------------------------


class _Publisher:
    """A channel in confirm mode."""

    def __init__(self, channel: _Channel) -> None:
        self.link = channel.link
        self._channel = channel
        self._ledger = ConfirmLedger()

    @classmethod
    async def open(cls, link: _Link) -> "_Publisher":
        channel = await link.channel()
        publisher = cls(channel)
        channel.raw.add_on_return_callback(publisher._on_return)
        # A message for an exchange that is gone ends the channel; a new one counts from 1 again.
        channel.raw.add_on_close_callback(lambda _, reason: link.lose(str(reason)))
        await channel.call(channel.raw.confirm_delivery, publisher._on_confirm)
        return publisher

    async def publish(self, messages: Sequence[Message], deadline_seconds: float) -> Sequence[Confirm]:
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        encoded = [_Properties(message) for message in messages]  # one that cannot be leaves all unsent
        send = self._channel.raw.basic_publish
        try:
            for message, properties in zip(messages, encoded, strict=True):
                send(message.exchange, message.routing_key, message.body, properties, message.must_route)
        except amqp.AMQPError as error:  # the channel is closed, and was before the first
            raise BrokerUnavailable("The connection to RabbitMQ was lost.") from error
        ids = [message.message_id for message in messages]
        batch = self._ledger.publish(ids, partial(_resolve, answered, None))
        ends: list[asyncio.Future[Any]] = [answered, self.link.lost]
        await asyncio.wait(ends, timeout=deadline_seconds, return_when=asyncio.FIRST_COMPLETED)
        # Under an alarm the connection is as good as any, and on a new one everything would go out once
        # more. Otherwise it may be dead.
        if not answered.done() and not self.link.blocked:
            self.link.lose("confirms did not come in time")
        return list(batch.confirms)

    def _on_confirm(self, answer: Any) -> None:
        method = answer.method
        confirm = Confirm.CONFIRMED if isinstance(method, pika.spec.Basic.Ack) else Confirm.REFUSED
        self._ledger.answer(method.delivery_tag, confirm, multiple=method.multiple)

    def _on_return(self, _channel: object, _method: object, properties: Any, _body: object) -> None:
        self._ledger.take_back(properties.message_id)


class _Properties(pika.BasicProperties):  # type: ignore[misc]
    """A message's properties, encoded with what its kind has in common encoded once (AMQP 0-9-1, 4.2)."""

    _FLAGS = sum(
        getattr(pika.BasicProperties, f"FLAG_{name}")
        for name in "CONTENT_TYPE CONTENT_ENCODING HEADERS DELIVERY_MODE MESSAGE_ID TIMESTAMP TYPE".split()
    ).to_bytes(2)

    def __init__(self, message: Message) -> None:
        fields: list[bytes] = []
        for name, text in message.headers.items():
            value = text.encode()
            fields += (_string_field(name), len(value).to_bytes(4), value)
        headers = b"".join(fields)
        message_id = message.message_id.encode()
        self._encoded = b"".join(
            (
                self._FLAGS,
                _short_string(message.content_type),
                _short_string("UTF-8"),
                len(headers).to_bytes(4),
                headers,
                b"\x02",  # delivery mode: persistent
                len(message_id).to_bytes(1),
                message_id,
                int(message.timestamp.timestamp()).to_bytes(8),
                _short_string(message.type),
            )
        )

    def encode(self) -> list[bytes]:
        """Return the pieces of the header frame that the client asks for."""
        return [self._encoded]


@lru_cache(maxsize=256)
def _short_string(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(1) + data


@lru_cache(maxsize=256)
def _string_field(name: str) -> bytes:
    return _short_string(name) + b"S"


# Consuming ---------------------------------------------------------------------------------------


class _RabbitConsumer:
    def __init__(self, channel: _Channel) -> None:
        self._channel = channel
        self._queue = ""
        self._subscriptions = 0
        self._ready: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self._received_tag = self._settled_tag = 0
        self._lost = ""
        channel.raw.add_on_cancel_callback(lambda _: self._lose("the queue was deleted or moved"))
        channel.ended.add_done_callback(lambda ended: self._lose(str(ended.result())))
        channel.link.lost.add_done_callback(self._on_link_lost)

    async def start(self, queue: str, prefetch: int) -> None:
        self._queue = queue
        await self._channel.call(self._channel.raw.basic_qos, prefetch_count=prefetch)
        await self._subscribe()

    async def _subscribe(self) -> None:
        """Subscribe, and end the subscription before, if any: what it still brings comes again."""
        self._subscriptions, raw = self._subscriptions + 1, self._channel.raw
        tag, before = (f"paybell-{self._subscriptions - age}" for age in (0, 1))
        try:
            await self._channel.call(raw.basic_consume, self._queue, self._on_message, consumer_tag=tag)
            if self._subscriptions > 1:
                await self._channel.call(raw.basic_cancel, before)
        except amqp.ChannelClosedByBroker as error:
            raise BrokerUnavailable(
                f"RabbitMQ does not let us consume {self._queue}: {error.reply_text}"
            ) from error

    def _on_message(self, _channel: object, method: Any, properties: Any, body: bytes) -> None:
        self._ready.append(
            Delivery(
                method.delivery_tag,
                _text(method.exchange),
                _text(method.routing_key),
                body if len(body) <= BODY_MAX else body[:BODY_MAX],
                _text(properties.content_type),
                _text(properties.message_id),
                properties.headers or {},
                len(body) > BODY_MAX,
            )
        )
        self._arrived.set()

    async def receive(self, most: int) -> Sequence[Delivery]:
        while not self._ready:
            self._raise_if_lost()
            self._arrived.clear()
            try:
                async with asyncio.timeout(RENEW_SECONDS):
                    await self._arrived.wait()
            except TimeoutError:
                if self._settled_tag == self._received_tag:  # a new subscription has a prefetch of its own
                    await self._subscribe()
        received = [self._ready.popleft() for _ in range(min(most, len(self._ready)))]
        self._received_tag = received[-1].tag
        return received

    async def settle(self, deliveries: Sequence[Delivery]) -> None:
        self._raise_if_lost()
        try:
            self._channel.raw.basic_ack(deliveries[-1].tag, multiple=True)
        except amqp.AMQPError as error:
            raise BrokerUnavailable(f"The subscription at RabbitMQ was lost: {error}") from error
        self._settled_tag = deliveries[-1].tag

    def _raise_if_lost(self) -> None:
        if self._lost:
            raise BrokerUnavailable(f"The subscription at RabbitMQ was lost: {self._lost}")

    def _on_link_lost(self, lost: "asyncio.Future[str]") -> None:
        self._lose(lost.result())

    def _lose(self, reason: str) -> None:
        self._lost = self._lost or reason
        self._ready.clear()  # it comes again, and could not be settled
        self._arrived.set()

    def close(self) -> None:
        self._channel.link.lost.remove_done_callback(self._on_link_lost)
        self._channel.close()


def _text(value: str | bytes | None) -> str:
    """Return a short string of a stranger, which the client leaves as bytes when it is not UTF-8."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""


# Declaring ---------------------------------------------------------------------------------------

# What an operator has to change (AMQP 0-9-1, 1.7: access-refused, resource-locked, precondition-failed);
# everything else passes, such as the home node of a queue that is down.
_REFUSALS = {403, 405, 406}


async def _declare_exchange(link: _Link, exchange: Exchange) -> None:
    async def declare(channel: _Channel) -> None:
        await channel.call(channel.raw.exchange_declare, exchange.name, exchange.type, durable=True)

    await _declare(link, f"exchange {exchange.name}", declare, "delete it yourself and bind its queues anew")


async def _declare_binding(link: _Link, binding: Binding) -> None:
    queue, exchange = binding.queue, binding.exchange
    arguments = {"x-queue-type": queue.type} if queue.type != "classic" else None

    async def declare(channel: _Channel) -> None:
        await channel.call(channel.raw.queue_declare, queue.name, durable=True, arguments=arguments)
        await channel.call(channel.raw.queue_bind, queue.name, exchange.name, binding.key)

    remedy = (
        "set PAYBELL_QUEUE_TYPE to its type, put other arguments into a policy (rabbitmqctl set_policy), "
        "or delete it yourself once it is empty"
    )
    await _declare(link, f"queue {queue.name} bound to {exchange.name}", declare, remedy)


async def _declare(link: _Link, what: str, declare: Callable[[_Channel], Any], remedy: str) -> None:
    """Declare on a channel of its own, because RabbitMQ closes the channel of a refused one."""
    channel = await link.channel()
    try:
        await declare(channel)
    except amqp.ChannelClosedByBroker as error:
        if error.reply_code not in _REFUSALS:
            raise BrokerUnavailable(f"RabbitMQ cannot declare {what} now: {error.reply_text}") from error
        raise Misconfigured(
            f"RabbitMQ refuses the {what}: {error.reply_text}. "
            f"If it exists with other properties, {remedy}; Paybell deletes nothing."
        ) from error
    channel.close()
