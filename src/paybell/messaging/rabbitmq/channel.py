"""A channel of a link: exchanges, queues, publishing and subscriptions, as coroutines."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from pika import exceptions as amqp

from paybell.errors import BrokerUnavailable
from paybell.messaging.broker import MESSAGE_BODY_MAX, Confirm, Delivery, Message, QueueState
from paybell.messaging.rabbitmq.connection import resolve
from paybell.messaging.rabbitmq.link import Link

# Reply codes (AMQP 0-9-1, 1.7).
ACCESS_REFUSED, NOT_FOUND = 403, 404


class ChannelRefused(Exception):
    """RabbitMQ has closed a channel because of what was asked on it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Channel:
    """A channel of a link. What is asked on it raises ChannelRefused or BrokerUnavailable."""

    def __init__(self, link: Link, raw: Any) -> None:
        """Use `Channel.open`."""
        self.link = link
        self.ended: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._raw = raw
        self._connection = link.connection
        raw.add_on_close_callback(self._on_close)

    @classmethod
    async def open(cls, link: Link) -> "Channel":
        """Open a channel of this link.

        Raises:
            BrokerUnavailable: the connection is gone.
        """
        opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        with suppress(amqp.AMQPError):  # what is wrong is known to `lost`
            link.connection.channel(on_open_callback=partial(resolve, opened))
        await link.wait_for(opened)
        return cls(link, opened.result())

    def _on_close(self, _channel: object, reason: Exception) -> None:
        self._connection.end_channel(self._raw.channel_number)
        resolve(self.ended, reason)

    async def _ask(self, method: Callable[..., object], *arguments: object, **named: object) -> Any:
        """Call one of the client's methods that take a ``callback``; return what it is called with."""
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        with suppress(amqp.ChannelWrongStateError, amqp.ConnectionWrongStateError):  # `ended` or `lost` tells
            method(*arguments, **named, callback=partial(resolve, answered))
        await self.link.wait_for(answered, self.ended)
        if not answered.done():
            if (refusal := self.refusal) is not None:
                raise refusal
            raise BrokerUnavailable(f"The connection to RabbitMQ was lost: {self.ended.result()}")
        return answered.result()

    @property
    def refusal(self) -> ChannelRefused | None:
        """Why RabbitMQ has closed this channel; None: it has not."""
        reason = self.ended.result() if self.ended.done() else None
        if isinstance(reason, amqp.ChannelClosedByBroker):
            return ChannelRefused(reason.reply_code, reason.reply_text)
        return None

    async def declare_exchange(self, name: str, kind: str) -> None:
        """Make sure of a durable exchange."""
        await self._ask(self._raw.exchange_declare, name, kind, durable=True)

    async def look_for_exchange(self, name: str) -> None:
        """Make sure that an exchange is there, of whatever type (Exchange.Declare with passive)."""
        await self._ask(self._raw.exchange_declare, name, passive=True)

    async def declare_queue(self, name: str, arguments: Mapping[str, str] | None) -> None:
        """Make sure of a durable queue."""
        await self._ask(self._raw.queue_declare, name, durable=True, arguments=arguments)

    async def look_at(self, name: str) -> QueueState:
        """Ask for a queue's counts (AMQP 0-9-1, Queue.Declare with passive)."""
        said = (await self._ask(self._raw.queue_declare, name, passive=True)).method
        return QueueState(said.message_count, said.consumer_count)

    async def bind(self, queue: str, exchange: str, key: str) -> None:
        """Make sure of a binding."""
        await self._ask(self._raw.queue_bind, queue, exchange, key)

    async def confirm(
        self, on_answer: Callable[[int, Confirm, bool], object], on_return: Callable[[str], object]
    ) -> None:
        """Have the broker answer for what is published from now on.

        Args:
            on_answer: is called with a tag, its confirm, and whether that is for all tags up to it.
            on_return: is called with the id of a message that found no queue, before its confirm.
        """
        self._connection.tell_answers(self._raw.channel_number, on_answer)
        self._raw.add_on_return_callback(lambda _channel, _method, given, _body: on_return(given.message_id))
        await self._ask(self._raw.confirm_delivery, lambda _: None)  # the connection tells, not the client

    def publish(self, messages: Sequence[Message]) -> None:
        """Send a batch, all of it or, if one cannot be written, nothing.

        Raises:
            BrokerUnavailable: the channel is closed.
        """
        if not self._raw.is_open:
            raise BrokerUnavailable("The connection to RabbitMQ was lost.")
        self._connection.send(self._raw.channel_number, messages)

    async def prefetch(self, limit: int) -> None:
        """Have each subscription hold so many unacknowledged deliveries at most."""
        await self._ask(self._raw.basic_qos, prefetch_count=limit)

    def on_cancel(self, callback: Callable[[], object]) -> None:
        """Note that the broker has ended a subscription."""
        self._raw.add_on_cancel_callback(lambda _: callback())

    async def subscribe(self, queue: str, tag: str, on_delivery: Callable[[Delivery], object]) -> None:
        """Consume a queue."""
        self._connection.tell_deliveries(self._raw.channel_number, tag, on_delivery)

        def deliver(_channel: object, method: Any, properties: Any, body: bytes) -> None:
            on_delivery(
                Delivery(
                    method.delivery_tag,
                    _text(method.exchange),
                    _text(method.routing_key),
                    body if len(body) <= MESSAGE_BODY_MAX else body[:MESSAGE_BODY_MAX],
                    _text(properties.content_type),
                    _text(properties.message_id),
                    properties.headers or {},
                    len(body) > MESSAGE_BODY_MAX,
                    bool(method.redelivered),
                )
            )

        await self._ask(self._raw.basic_consume, queue, deliver, consumer_tag=tag)

    async def unsubscribe(self, tag: str) -> None:
        """End a subscription; what it still brings goes back into the queue."""
        self._connection.end_deliveries(self._raw.channel_number, tag)
        await self._ask(self._raw.basic_cancel, tag)

    def acknowledge(self, tag: int) -> None:
        """Acknowledge all deliveries up to this one.

        Raises:
            BrokerUnavailable: the channel is closed.
        """
        try:
            self._raw.basic_ack(tag, multiple=True)
        except amqp.AMQPError as error:
            raise BrokerUnavailable(f"The subscription at RabbitMQ was lost: {error}") from error

    def close(self) -> None:
        """Close it, without waiting; what it still brings is nobody's."""
        self._connection.end_channel(self._raw.channel_number)
        with suppress(amqp.AMQPError):
            self._raw.close()


def _text(value: str | bytes | None) -> str:
    """Return a short string of a stranger, which the client leaves as bytes when it is not UTF-8."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""
