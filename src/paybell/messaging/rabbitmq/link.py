"""Connections to RabbitMQ and their channels, as coroutines instead of the client's callbacks."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from pika import exceptions as amqp
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from paybell.errors import BrokerUnavailable, Misconfigured
from paybell.messaging.broker import MESSAGE_BODY_MAX, Confirm, Delivery, Message, QueueState
from paybell.messaging.rabbitmq.connection import (
    ANSWER_TIMEOUT_SECONDS,
    Connection,
    connect,
    resolve,
)

# A connection that misses so many signs of life in a row is given up.
SIGNS_MISSED_MAX = 3
# A goodbye is a courtesy: what was not acknowledged comes again with or without it.
CLOSE_TIMEOUT_SECONDS = 2.0

ALARM = "RabbitMQ holds publishers back: its memory or disk alarm is on."


# Reply codes (AMQP 0-9-1, 1.7).
ACCESS_REFUSED, NOT_FOUND = 403, 404


class ChannelRefused(Exception):
    """RabbitMQ has closed a channel because of what was asked on it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Link:
    """One AMQP connection, with the fact of its loss as a future."""

    def __init__(self, connection: Connection) -> None:
        """Use `Link.open`."""
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
    async def open(cls, hosts: Sequence[Any]) -> "Link":
        """Connect to the first of the hosts that answers, beginning anywhere.

        Raises:
            BrokerUnavailable: none does.
            Misconfigured: none does, because of the user, the password or the virtual host.
        """
        failures = []
        refused = False
        for host in random.sample(hosts, len(hosts)):
            try:
                return cls(await connect(host))
            except (amqp.AMQPError, AMQPConnectorException, OSError) as error:
                cause = _cause(error)
                failures.append(f"{host.host}:{host.port}: {cause}")
                # The client says "probably refused" also of a broker that died during the greeting.
                refused = refused or "ClosedByBroker" in cause
        said = "; ".join(failures)
        if refused:
            raise Misconfigured(f"RabbitMQ refuses us, check PAYBELL_BROKER_URL. {said}")
        raise BrokerUnavailable(f"RabbitMQ cannot be reached, start it or correct PAYBELL_BROKER_URL. {said}")

    @property
    def server_version(self) -> str:
        """What the broker says of itself in its greeting, such as 4.1.2; empty if it does not."""
        said = (self._connection.server_properties or {}).get("version", "")
        return said.decode("latin-1") if isinstance(said, bytes) else str(said)

    def _expect_life(self, received: int, missed: int) -> None:
        now_received = self._connection.bytes_received
        missed = missed + 1 if now_received == received else 0
        if missed >= SIGNS_MISSED_MAX:
            self.lose("RabbitMQ shows no sign of life")
        elif not self.lost.done():
            wait_seconds = self._connection.params.heartbeat / 2
            asyncio.get_running_loop().call_later(wait_seconds, self._expect_life, now_received, missed)

    def _set_blocked(self, blocked: bool) -> None:
        self.blocked = blocked

    def _on_close(self, _connection: object, reason: object) -> None:
        resolve(self._closed, str(reason))
        resolve(self.lost, str(reason))

    def lose(self, reason: str) -> None:
        """Give the connection up; what still travels on it may or may not arrive."""
        resolve(self.lost, reason)
        if self._connection.is_open:
            self._connection.close()

    async def close(self) -> None:
        """Give the connection up, and wait a little for the broker to notice."""
        self.lose("closed by us")
        await asyncio.wait([self._closed], timeout=CLOSE_TIMEOUT_SECONDS)

    async def channel(self) -> "Channel":
        """Open a channel.

        Raises:
            BrokerUnavailable: the connection is gone.
        """
        opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        with suppress(amqp.AMQPError):  # what is wrong is known to `lost`
            self._connection.channel(on_open_callback=partial(resolve, opened))
        await self.wait_for(opened)
        return Channel(self, self._connection, opened.result())

    async def wait_for(self, *answers: "asyncio.Future[Any]") -> None:
        """Wait for one of these, but not past the end of the connection.

        Raises:
            BrokerUnavailable: none came.
        """
        done, _ = await asyncio.wait(
            [*answers, self.lost], timeout=ANSWER_TIMEOUT_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if not done and self.blocked:
            raise BrokerUnavailable(ALARM)
        if not done:
            self.lose(f"no answer within {ANSWER_TIMEOUT_SECONDS:g} s")
        if not any(answer.done() for answer in answers):
            raise BrokerUnavailable(f"The connection to RabbitMQ was lost: {self.lost.result()}")


class Channel:
    """A channel of a link. What is asked on it raises ChannelRefused or BrokerUnavailable."""

    def __init__(self, link: Link, connection: Connection, raw: Any) -> None:
        """Use `Link.channel`."""
        self.link = link
        self.ended: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._raw = raw
        self._connection = connection
        raw.add_on_close_callback(self._on_close)

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


def _cause(error: BaseException) -> str:
    """Say what is at the bottom of the client's nested complaints."""
    inner = [*getattr(error, "exceptions", ()), getattr(error, "exception", None), *error.args[:1]]
    causes = [cause for cause in inner if isinstance(cause, Exception)]
    return _cause(causes[-1]) if causes else str(error) or type(error).__name__
