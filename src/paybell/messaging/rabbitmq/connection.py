"""One connection to RabbitMQ through pika's asyncio adapter: made, with what we change in the client."""

import asyncio
import struct
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import pika
from pika import exceptions as amqp
from pika.adapters.asyncio_connection import AsyncioConnection

from paybell.errors import Misconfigured
from paybell.messaging.broker import Message
from paybell.messaging.broker_url import broker_places
from paybell.messaging.rabbitmq.frame_reader import OnAnswer, OnDelivery, read_answer, read_delivery
from paybell.messaging.rabbitmq.frame_writer import write_message
from paybell.messaging.rabbitmq.frames import Incomplete, cut_frame

# For each step of connecting and declaring; a broker nearby takes milliseconds.
ANSWER_TIMEOUT_SECONDS = 5.0
# The broker says something twice in this time; a connection that misses three such signs of life in a row
# is given up. The client's own check takes up to four times as long. `?heartbeat=` in the URL overrides it.
HEARTBEAT_SECONDS = 4
_READ_BYTES = 64 * 1024


def parse_url(url: str) -> Any:
    """Read an AMQP URL for `connect`.

    Raises:
        Misconfigured: it is none.
    """
    (place,) = broker_places(url)
    try:
        parameters = pika.URLParameters(url)
    except (ValueError, TypeError):  # its words may hold what nobody may see
        raise Misconfigured(f"PAYBELL_BROKER_URL holds an option that cannot be read, of {place}.") from None
    if parameters.heartbeat is None:
        parameters.heartbeat = HEARTBEAT_SECONDS
    parameters.connection_attempts = 1
    parameters.stack_timeout = None  # `connect` has one, and what it has given up must not be ended once more
    parameters.client_properties = {"connection_name": "paybell"}
    return parameters


async def connect(parameters: Any) -> "Connection":
    """Connect to one host.

    Raises:
        AMQPError, AMQPConnectorException, OSError: it cannot be done; TimeoutError is one of the last.
    """
    opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    connection = Connection(
        parameters,
        on_open_callback=partial(resolve, opened),
        on_open_error_callback=lambda _, error: resolve(opened, error),
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


class Connection(AsyncioConnection):  # type: ignore[misc]
    """The client's connection with four changes; without three it is slower and less patient, but right.

    Our own messages and deliveries that are whole do not go through the client, see
    `paybell.messaging.rabbitmq.frames`. What one turn of the event loop writes goes to the kernel in one
    call. And a message with headers that the client cannot decode comes without its properties, where the
    client ends the connection, again and again, because the message comes again.

    The fourth: where it is closed at the moment its host's name is found, the client goes on to connect.
    """

    def __init__(self, parameters: Any, **callbacks: Any) -> None:
        self._subscriptions: dict[tuple[int, bytes], OnDelivery] = {}
        self._publishers: dict[int, OnAnswer] = {}
        self._unread = b""
        self._unsent: list[bytes] = []
        self._given_up = False
        self._own_loop = asyncio.get_running_loop()
        super().__init__(parameters, **callbacks, custom_ioloop=self._own_loop)

    def tell_answers(self, channel: int, on_answer: OnAnswer) -> None:
        """Pass a channel's Basic.Ack and Basic.Nack to its publisher."""
        self._publishers[channel] = on_answer

    def tell_deliveries(self, channel: int, tag: str, on_delivery: OnDelivery) -> None:
        """Pass a subscription's deliveries to its consumer."""
        self._subscriptions[channel, tag.encode()] = on_delivery

    def end_deliveries(self, channel: int, tag: str) -> None:
        """Pass on nothing more of a subscription."""
        self._subscriptions.pop((channel, tag.encode()), None)

    def end_channel(self, channel: int) -> None:
        """Pass on nothing more of a channel; one that is opened later may have the same number."""
        self._publishers.pop(channel, None)
        for key in [key for key in self._subscriptions if key[0] == channel]:
            del self._subscriptions[key]

    def send(self, channel: int, messages: Sequence[Message]) -> None:
        """Publish all of these; if one cannot be written, none."""
        data = b"".join([write_message(channel, one, self.params.frame_max) for one in messages])
        self._output_marshaled_frames([data])

    def _adapter_emit_data(self, data: bytes) -> None:
        if not self._unsent:
            self._own_loop.call_soon(self._send)
        self._unsent.append(data)

    def _send(self) -> None:
        data = b"".join(self._unsent)
        self._unsent.clear()
        if not self.is_closed:
            super()._adapter_emit_data(data)

    def _proto_connection_made(self, transport: Any) -> None:
        transport._MAX_RECV_BYTES = _READ_BYTES  # noqa: SLF001 - the client reads a handful of messages at once
        self._given_up = self.is_closing or self.is_closed
        if self._given_up:
            transport.abort()
        else:
            super()._proto_connection_made(transport)

    def _proto_connection_lost(self, error: BaseException | None) -> None:
        if not self._given_up:
            super()._proto_connection_lost(error)

    def _on_data_available(self, data_in: bytes) -> None:
        self.bytes_received += len(data_in)
        data, at = self._unread + data_in, 0
        with suppress(Incomplete):
            while not self.is_closed:
                at = self._read(data, at)
        self._unread = data[at:]

    def _read(self, data: bytes, at: int) -> int:
        """Take what begins here; return where the next begins."""
        delivered = read_delivery(data, at, self._subscriptions)
        if delivered is not None:
            consumer, delivery, end = delivered
            consumer(delivery)
            return end
        answered = read_answer(data, at, self._publishers)
        if answered is not None:
            return answered
        size, frame = _decode(cut_frame(data, at))
        self._process_frame(frame)
        return at + size


def _decode(data: bytes) -> tuple[int, Any]:
    """Read one frame as the client does."""
    try:
        read: tuple[int, Any] = pika.frame.decode_frame(data)
    except Exception:  # whatever it is, the same bytes would bring it again
        kind, channel, size = struct.unpack_from(">BHI", data)
        if kind != pika.spec.FRAME_HEADER:
            raise
        body_size = struct.unpack_from(">Q", data, _FRAME_START + 4)[0]
        header = pika.frame.Header(channel, body_size, pika.BasicProperties())
        return _FRAME_START + size + _FRAME_END, header
    return read


_FRAME_START, _FRAME_END = pika.spec.FRAME_HEADER_SIZE, pika.spec.FRAME_END_SIZE


def resolve(future: "asyncio.Future[Any]", value: object) -> None:
    """Give a future its result if it has none."""
    if not future.done():
        future.set_result(value)
