"""RabbitMQ as a `Broker`.

Two connections, because RabbitMQ holds back a blocked publisher's whole connection and must
not hold back our acknowledgements with it (https://www.rabbitmq.com/docs/alarms).
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from paybell.errors import BrokerUnavailable
from paybell.messaging.broker import Answer, Consumer, Delivery, Message, QueueState, Topology
from paybell.messaging.rabbitmq.channel import NOT_FOUND, Channel, ChannelRefused
from paybell.messaging.rabbitmq.connection import parse_url
from paybell.messaging.rabbitmq.link import ALARM, Link
from paybell.messaging.rabbitmq.publisher import ChannelEnded, Publisher, publish_around
from paybell.messaging.rabbitmq.topology import declare, look_for

# A subscription can end without a word of the broker. One that brings nothing for so long is made anew,
# which costs an idle listener two round trips.
RENEW_SECONDS = 5.0


class RabbitBroker:
    """RabbitMQ as a `Broker`; connects when needed, again after every loss."""

    def __init__(self, urls: str, *, only_looks: bool = False) -> None:
        """Take one or more AMQP URLs, separated by commas.

        With ``only_looks`` exchanges and queues are used as they are and nothing is declared or bound.

        Raises:
            Misconfigured: one of them is none.
        """
        self._hosts = [parse_url(url.strip()) for url in urls.split(",")]
        self._declare = look_for if only_looks else declare
        self._publisher: Publisher | None = None
        self._consuming: Link | None = None
        self._connecting = asyncio.Lock()

    @property
    def connected(self) -> bool:
        """Say whether there is a connection for publishing that no alarm holds back."""
        publisher = self._publisher
        return publisher is not None and not publisher.link.lost.done() and not publisher.link.blocked

    async def server_version(self) -> str:
        """Return the broker's version, such as 4.1.2; empty if it does not say it."""
        return (await self._open_consuming()).server_version

    async def declare(self, topology: Topology) -> None:
        """Make what is missing; see `Broker.declare`."""
        link = (await self._open_publisher()).link
        if link.blocked:  # it is not read until the alarm is over, and whoever consumes may help to end it
            link = await self._open_consuming()
        await self._declare(link, topology)

    async def publish(self, messages: Sequence[Message], deadline_seconds: float) -> Sequence[Answer]:
        """Publish with pipelined confirms and ``mandatory``; see `Broker.publish`."""
        try:
            async with asyncio.timeout(deadline_seconds):
                publisher = await self._open_publisher()
        except TimeoutError as error:
            raise BrokerUnavailable("RabbitMQ does not answer in time.") from error
        if publisher.link.blocked:
            raise BrokerUnavailable(ALARM)
        if not messages:
            return []
        try:
            return await publisher.publish(messages, deadline_seconds)
        except ChannelEnded as ended:
            return await publish_around(publisher.link, messages, ended, deadline_seconds)

    @asynccontextmanager
    async def consume(self, queue: str, prefetch: int) -> AsyncIterator[Consumer]:
        """Subscribe on a channel of its own; see `Broker.consume`."""
        consumer = _RabbitConsumer(await Channel.open(await self._open_consuming()), queue)
        try:
            await consumer.start(prefetch)
            yield consumer
        finally:
            consumer.close()

    async def look_at(self, queue: str) -> QueueState | None:
        """Ask on a channel of its own, which a missing queue ends; see `Queues.look_at`."""
        channel = await Channel.open(await self._open_consuming())
        try:
            return await channel.look_at(queue)
        except ChannelRefused as refusal:
            if refusal.code == NOT_FOUND:
                return None
            raise BrokerUnavailable(f"RabbitMQ does not say how {queue} stands: {refusal}") from refusal
        finally:
            channel.close()

    async def close(self) -> None:
        """Say goodbye on both connections."""
        links = [self._publisher and self._publisher.link, self._consuming]
        await asyncio.gather(*(link.close() for link in links if link))

    async def _open_publisher(self) -> Publisher:
        async with self._connecting:
            if self._publisher is None or self._publisher.link.lost.done():
                self._publisher = await Publisher.open(await Link.open(self._hosts))
            elif not self._publisher.usable:  # a refusal ends a channel and not its connection
                self._publisher = await Publisher.open(self._publisher.link)
            return self._publisher

    async def _open_consuming(self) -> Link:
        async with self._connecting:
            if self._consuming is None or self._consuming.lost.done():
                self._consuming = await Link.open(self._hosts)
            return self._consuming


class _RabbitConsumer:
    def __init__(self, channel: Channel, queue: str) -> None:
        self._channel = channel
        self._queue = queue
        self._subscriptions = 0
        self._ready: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self._received_tag = self._acknowledged_tag = 0
        self._lost = ""
        channel.on_cancel(partial(self._lose, "the queue was deleted or moved"))
        channel.ended.add_done_callback(lambda ended: self._lose(str(ended.result())))
        channel.link.lost.add_done_callback(self._on_link_lost)

    async def start(self, prefetch: int) -> None:
        await self._channel.prefetch(prefetch)
        await self._subscribe()

    async def _subscribe(self) -> None:
        """Subscribe, and end the subscription before, if any."""
        self._subscriptions += 1
        tag, before = (f"paybell-{self._subscriptions - age}" for age in (0, 1))
        try:
            await self._channel.subscribe(self._queue, tag, self._on_delivery)
            if self._subscriptions > 1:
                await self._channel.unsubscribe(before)
        except ChannelRefused as refusal:
            raise BrokerUnavailable(f"RabbitMQ does not let us consume {self._queue}: {refusal}") from refusal

    def _on_delivery(self, delivery: Delivery) -> None:
        self._ready.append(delivery)
        self._arrived.set()

    async def receive(self, limit: int) -> Sequence[Delivery]:
        while not self._ready:
            self._raise_if_lost()
            self._arrived.clear()
            try:
                async with asyncio.timeout(RENEW_SECONDS):
                    await self._arrived.wait()
            except TimeoutError:
                if (
                    self._acknowledged_tag == self._received_tag
                ):  # a new subscription has a prefetch of its own
                    await self._subscribe()
        received = [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]
        self._received_tag = received[-1].tag
        return received

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self._raise_if_lost()
        self._channel.acknowledge(deliveries[-1].tag)
        self._acknowledged_tag = deliveries[-1].tag

    def _raise_if_lost(self) -> None:
        if self._lost:
            raise BrokerUnavailable(f"The subscription at RabbitMQ was lost: {self._lost}")

    def _on_link_lost(self, lost: "asyncio.Future[str]") -> None:
        self._lose(lost.result())

    def _lose(self, reason: str) -> None:
        self._lost = self._lost or reason
        self._ready.clear()  # it comes again, and could not be acknowledged
        self._arrived.set()

    def close(self) -> None:
        self._channel.link.lost.remove_done_callback(self._on_link_lost)
        self._channel.close()
