"""RabbitMQ through pika's asyncio adapter: the one file that knows the AMQP client.

Two connections, because RabbitMQ holds back a blocked publisher's whole connection and must
not hold back our acknowledgements with it (https://www.rabbitmq.com/docs/alarms). Confirms are
counted per channel (https://www.rabbitmq.com/docs/confirms); a Basic.Return always comes before
the Basic.Ack of the same message and is matched by its unique message_id.
"""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import pika
from pika import exceptions as amqp
from pika.adapters.asyncio_connection import AsyncioConnection

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

CONNECT_TIMEOUT_SECONDS = 5.0
# A peer that vanished without a word is noticed after at most twice this.
HEARTBEAT_SECONDS = 5
_PERSISTENT = 2

Value = TypeVar("Value")


class _Link:
    """One AMQP connection, with the fact of its loss as a future."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.blocked = False
        connection.add_on_close_callback(lambda _, reason: self.lose(str(reason)))
        connection.add_on_connection_blocked_callback(lambda *_: self._set_blocked(True))
        connection.add_on_connection_unblocked_callback(lambda *_: self._set_blocked(False))

    def _set_blocked(self, blocked: bool) -> None:
        self.blocked = blocked

    @classmethod
    async def open(cls, urls: Sequence[str]) -> "_Link":
        """Connect to the first of the hosts that answers, beginning anywhere.

        Raises:
            BrokerUnavailable: none does. Misconfigured: one refuses the user or the vhost.
        """
        problem: object = "no host given"
        for url in random.sample(urls, len(urls)):
            try:
                return cls(await asyncio.wait_for(_connect(url), CONNECT_TIMEOUT_SECONDS))
            except (amqp.ProbableAuthenticationError, amqp.ProbableAccessDeniedError) as error:
                raise Misconfigured(
                    "RabbitMQ refuses the user, password or vhost in PAYBELL_BROKER_URL."
                ) from error
            except (amqp.AMQPError, OSError, TimeoutError) as error:
                problem = error
        raise BrokerUnavailable(
            f"RabbitMQ does not answer at PAYBELL_BROKER_URL ({type(problem).__name__}); "
            "start it or correct the URL."
        )

    async def channel(self) -> Any:
        """Open a channel."""
        opened = asyncio.get_running_loop().create_future()
        with _lost_when_closed():
            self._connection.channel(on_open_callback=lambda channel: _resolve(opened, channel))
        return await self.answer(opened)

    async def answer(
        self, waiting: "asyncio.Future[Value]", channel_closed: "asyncio.Future[Any] | None" = None
    ) -> Value:
        """Wait for the broker's answer, but not past the end of the connection or channel."""
        watched: list[asyncio.Future[Any]] = [
            waiting,
            self.lost,
            *([channel_closed] if channel_closed else []),
        ]
        done, _ = await asyncio.wait(
            watched, timeout=CONNECT_TIMEOUT_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if waiting in done:
            return waiting.result()
        if channel_closed in done and channel_closed is not None:
            raise channel_closed.result()
        self.lose("no answer in time")
        raise BrokerUnavailable

    def lose(self, reason: str) -> None:
        """Give the connection up."""
        if not self.lost.done():
            self.lost.set_result(reason)
        if self._connection.is_open:
            with suppress(amqp.AMQPError):
                self._connection.close()


class RabbitBroker:
    """RabbitMQ as a `Broker`; connects when needed, again after every loss."""

    def __init__(self, url: str) -> None:
        """Take one or more AMQP URLs, separated by commas."""
        self._urls = [part.strip() for part in url.split(",") if part.strip()]
        self._publisher: _Publisher | None = None
        self._consuming: _Link | None = None
        self._connecting = asyncio.Lock()

    @property
    def connected(self) -> bool:
        """Say whether there is a connection for publishing that is not blocked by an alarm."""
        publisher = self._publisher
        return publisher is not None and not publisher.lost and not publisher.link.blocked

    async def declare(self, topology: Topology) -> None:
        """Make what is missing; see `Broker.declare`."""
        publisher = await self._publishing()
        for exchange in topology.exchanges:
            await _declare_exchange(publisher.link, exchange)
        for binding in topology.bindings:
            await _declare_binding(publisher.link, binding)

    async def publish(self, messages: Sequence[Message], deadline_seconds: float) -> Sequence[Confirm]:
        """Publish with pipelined confirms and ``mandatory``; see `Broker.publish`."""
        publisher = await self._publishing()
        if publisher.link.blocked:
            raise BrokerUnavailable("RabbitMQ blocks publishers: its memory or disk alarm is on.")
        return await publisher.publish(messages, deadline_seconds)

    async def _publishing(self) -> "_Publisher":
        async with self._connecting:
            if self._publisher is None or self._publisher.lost:
                self._publisher = await _Publisher.open(await _Link.open(self._urls))
            return self._publisher

    @asynccontextmanager
    async def consume(self, queue: str, prefetch: int) -> AsyncIterator[Consumer]:
        """Subscribe on a channel of its own; see `Broker.consume`."""
        async with self._connecting:
            if self._consuming is None or self._consuming.lost.done():
                self._consuming = await _Link.open(self._urls)
        link = self._consuming
        consumer = _RabbitConsumer(link, await link.channel())
        try:
            await consumer.start(queue, prefetch)
            yield consumer
        finally:
            consumer.close()

    async def close(self) -> None:
        """Close both connections."""
        links = [self._publisher.link] if self._publisher else []
        links += [self._consuming] if self._consuming else []
        for link in links:
            link.lose("closed by us")


class _Publisher:
    """A channel in confirm mode. Tags count up from 1 with each publish, as the broker counts them."""

    def __init__(self, link: _Link, channel: Any) -> None:
        self.link = link
        self._channel = channel
        self._closed = False
        self._published = 0
        self._unconfirmed: deque[tuple[int, _Batch, int]] = deque()
        channel.add_on_close_callback(lambda *_: self._lose())
        channel.add_on_return_callback(self._on_return)
        link.lost.add_done_callback(lambda _: self._lose())
        self._returned: set[str] = set()

    @classmethod
    async def open(cls, link: _Link) -> "_Publisher":
        channel = await link.channel()
        publisher = cls(link, channel)
        ready = asyncio.get_running_loop().create_future()
        channel.confirm_delivery(publisher._on_confirm, callback=lambda frame: _resolve(ready, frame))
        await link.answer(ready)
        return publisher

    @property
    def lost(self) -> bool:
        return self._closed

    async def publish(self, messages: Sequence[Message], deadline_seconds: float) -> Sequence[Confirm]:
        batch = _Batch(messages)
        try:
            for index, message in enumerate(messages):
                self._published += 1
                self._unconfirmed.append((self._published, batch, index))
                self._channel.basic_publish(
                    message.exchange,
                    message.routing_key,
                    message.body,
                    _properties(message),
                    message.must_route,
                )
        except amqp.AMQPError:
            self._lose()
        await asyncio.wait([batch.done], timeout=deadline_seconds)
        if not batch.done.done():
            # What is in the socket may still arrive: only a new connection gives a clean count.
            self.link.lose("confirms did not come in time")
        return batch.confirms

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        confirm = Confirm.CONFIRMED if isinstance(method, pika.spec.Basic.Ack) else Confirm.REFUSED
        tag, pending = method.delivery_tag, self._unconfirmed
        if method.multiple or (pending and pending[0][0] == tag):
            while pending and pending[0][0] <= tag:
                self._confirm(pending.popleft(), confirm)
            return
        # Out of order: rare enough to look for it.
        for entry in pending:
            if entry[0] == tag:
                pending.remove(entry)
                self._confirm(entry, confirm)
                return

    def _confirm(self, entry: "tuple[int, _Batch, int]", confirm: Confirm) -> None:
        _, batch, index = entry
        if self._returned and batch.messages[index].message_id in self._returned:
            self._returned.discard(batch.messages[index].message_id)
            confirm = Confirm.RETURNED
        batch.settle(index, confirm)

    def _on_return(self, _channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        self._returned.add(properties.message_id)

    def _lose(self) -> None:
        self._closed = True
        while self._unconfirmed:
            _, batch, _ = self._unconfirmed.popleft()
            batch.give_up()
        self.link.lose("the publishing channel was closed")


class _Batch:
    """What became of each message of one publish call; UNKNOWN until the broker says otherwise."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self.confirms = [Confirm.UNKNOWN] * len(messages)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting = len(messages)

    def settle(self, index: int, confirm: Confirm) -> None:
        self.confirms[index] = confirm
        # A message that nobody listens for is fine where the sender said so; it is not mandatory then.
        self._waiting -= 1
        if not self._waiting:
            self.give_up()

    def give_up(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class _RabbitConsumer:
    def __init__(self, link: _Link, channel: Any) -> None:
        self._link = link
        self._channel = channel
        self._ready: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self._lost = False
        self._closed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        channel.add_on_close_callback(lambda _, reason: self._lose(reason))
        channel.add_on_cancel_callback(self._lose)
        link.lost.add_done_callback(self._lose)

    async def start(self, queue: str, prefetch: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            for ask in (
                lambda done: self._channel.basic_qos(prefetch_count=prefetch, callback=done),
                lambda done: self._channel.basic_consume(queue, self._on_message, callback=done),
            ):
                answered = loop.create_future()
                with _lost_when_closed():
                    ask(lambda frame, answered=answered: _resolve(answered, frame))
                await self._link.answer(answered, self._closed)
        except amqp.ChannelClosed as error:
            raise BrokerUnavailable(
                f"RabbitMQ does not let us consume {queue}: {error.reply_text}"
            ) from error

    def _on_message(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._ready.append(
            Delivery(
                method.delivery_tag,
                method.exchange,
                method.routing_key,
                body if len(body) <= BODY_MAX else body[:BODY_MAX],
                properties.content_type or "",
                properties.message_id or "",
                properties.headers or {},
                len(body) > BODY_MAX,
            )
        )
        self._arrived.set()

    async def receive(self, most: int) -> Sequence[Delivery]:
        while not self._ready:
            if self._lost:
                raise BrokerUnavailable("The subscription was lost.")
            self._arrived.clear()
            await self._arrived.wait()
        return [self._ready.popleft() for _ in range(min(most, len(self._ready)))]

    async def settle(self, deliveries: Sequence[Delivery]) -> None:
        if self._lost:
            raise BrokerUnavailable("The subscription was lost; what was not settled comes again.")
        with _lost_when_closed():
            self._channel.basic_ack(deliveries[-1].tag, multiple=True)

    def _lose(self, reason: object) -> None:
        self._lost = True
        self._ready.clear()
        self._arrived.set()
        if not self._closed.done():
            self._closed.set_result(reason if isinstance(reason, amqp.AMQPError) else BrokerUnavailable())

    def close(self) -> None:
        if self._channel.is_open:
            with suppress(amqp.AMQPError):
                self._channel.close()


def _properties(message: Message) -> Any:
    return pika.BasicProperties(
        content_type=message.content_type,
        content_encoding="UTF-8",
        headers=dict(message.headers),
        delivery_mode=_PERSISTENT,
        message_id=message.message_id,
        timestamp=int(message.timestamp.timestamp()),
        type=message.type,
    )


async def _connect(url: str) -> Any:
    parameters = pika.URLParameters(url)
    if "heartbeat=" not in url:
        parameters.heartbeat = HEARTBEAT_SECONDS
    parameters.connection_attempts = 1
    parameters.client_properties = {"connection_name": "paybell"}
    opened = asyncio.get_running_loop().create_future()
    AsyncioConnection(
        parameters,
        on_open_callback=lambda connection: _resolve(opened, connection),
        on_open_error_callback=lambda _, error: None if opened.done() else opened.set_exception(error),
        custom_ioloop=asyncio.get_running_loop(),
    )
    return await opened


async def _declare_exchange(link: _Link, exchange: Exchange) -> None:
    await _declared(
        link,
        f"exchange {exchange.name}",
        lambda channel, done: channel.exchange_declare(
            exchange.name, exchange.type, durable=True, callback=done
        ),
    )


async def _declare_binding(link: _Link, binding: Binding) -> None:
    queue = binding.queue
    arguments = {"x-queue-type": queue.type} if queue.type != "classic" else None
    await _declared(
        link,
        f"queue {queue.name}",
        lambda channel, done: channel.queue_declare(
            queue.name, durable=True, arguments=arguments, callback=done
        ),
    )
    await _declared(
        link,
        f"binding of {queue.name} to {binding.exchange.name}",
        lambda channel, done: channel.queue_bind(
            queue.name, binding.exchange.name, binding.key, callback=done
        ),
    )


async def _declared(link: _Link, what: str, declare: Callable[[Any, Callable[[Any], None]], object]) -> None:
    """Declare on a channel of its own, because RabbitMQ closes the channel of a refused one."""
    channel = await link.channel()
    closed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
    channel.add_on_close_callback(lambda _, reason: _resolve(closed, reason))
    answered = asyncio.get_running_loop().create_future()
    try:
        with _lost_when_closed():
            declare(channel, lambda frame: _resolve(answered, frame))
        await link.answer(answered, closed)
    except amqp.ChannelClosedByBroker as error:
        raise Misconfigured(
            f"RabbitMQ refuses the {what}: {error.reply_text}. If it exists with other properties, "
            "set PAYBELL_QUEUE_TYPE to match or delete it yourself when it is empty; Paybell never does."
        ) from error
    except amqp.AMQPError as error:
        raise BrokerUnavailable from error
    if channel.is_open:
        channel.close()


def _resolve(future: "asyncio.Future[Any]", value: object) -> None:
    if not future.done():
        future.set_result(value)


class _lost_when_closed:  # noqa: N801 - reads as the statement it is
    """Turn the client's complaint about a closed channel into our own error."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, amqp.AMQPError):
            raise BrokerUnavailable from error
