"""A connection to RabbitMQ whose loss is a future, as coroutines instead of the client's callbacks."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from pika import exceptions as amqp
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from paybell.errors import BrokerUnavailable, Misconfigured
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


class Link:
    """One AMQP connection, with the fact of its loss as a future."""

    def __init__(self, connection: Connection) -> None:
        """Use `Link.open`."""
        self.connection = connection
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
        said = (self.connection.server_properties or {}).get("version", "")
        return said.decode("latin-1") if isinstance(said, bytes) else str(said)

    def _expect_life(self, received: int, missed: int) -> None:
        now_received = self.connection.bytes_received
        missed = missed + 1 if now_received == received else 0
        if missed >= SIGNS_MISSED_MAX:
            self.lose("RabbitMQ shows no sign of life")
        elif not self.lost.done():
            wait_seconds = self.connection.params.heartbeat / 2
            asyncio.get_running_loop().call_later(wait_seconds, self._expect_life, now_received, missed)

    def _set_blocked(self, blocked: bool) -> None:
        self.blocked = blocked

    def _on_close(self, _connection: object, reason: object) -> None:
        resolve(self._closed, str(reason))
        resolve(self.lost, str(reason))

    def lose(self, reason: str) -> None:
        """Give the connection up; what still travels on it may or may not arrive."""
        resolve(self.lost, reason)
        if self.connection.is_open:
            self.connection.close()

    async def close(self) -> None:
        """Give the connection up, and wait a little for the broker to notice."""
        self.lose("closed by us")
        await asyncio.wait([self._closed], timeout=CLOSE_TIMEOUT_SECONDS)

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


def _cause(error: BaseException) -> str:
    """Say what is at the bottom of the client's nested complaints."""
    inner = [*getattr(error, "exceptions", ()), getattr(error, "exception", None), *error.args[:1]]
    causes = [cause for cause in inner if isinstance(cause, Exception)]
    return _cause(causes[-1]) if causes else str(error) or type(error).__name__
