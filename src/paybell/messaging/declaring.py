"""Declaring what a process needs of a broker that may not be there yet: waited for without end, and said so.

A broker that answers and refuses is another matter: waiting cannot help, and a person has to see it.
"""

import asyncio

import structlog

from paybell.clock import Clock
from paybell.errors import BrokerUnavailable, Misconfigured
from paybell.messaging.broker import Broker, Topology
from paybell.worker import SAID_AGAIN_SECONDS

log = structlog.get_logger()
_POLL_SECONDS = 0.5


class Declaring:
    """What is still to be declared; ``refused`` has the error of a broker that came and refused."""

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self._broker = broker
        self._clock = clock
        self._waiting: list[Topology] = []
        self.refused: asyncio.Future[Misconfigured] = asyncio.get_running_loop().create_future()

    async def declare(self, wanted: Topology) -> bool:
        """Declare a topology; say whether it is done. If not, `run` does it.

        Raises:
            Misconfigured: the broker refuses it.
        """
        if not self._waiting:  # one that is away is tried once
            try:
                await self._broker.declare(wanted)
            except BrokerUnavailable as error:
                self._say(error)
            else:
                return True
        self._waiting.append(wanted)
        return False

    async def run(self, stop: asyncio.Event) -> None:
        """Declare what waits as soon as the broker is there; one line a minute says that it is not."""
        said = self._clock.monotonic()
        while self._waiting and not stop.is_set():
            try:
                await self._broker.declare(self._waiting[0])
                del self._waiting[0]
                continue
            except BrokerUnavailable as error:
                if self._clock.monotonic() - said >= SAID_AGAIN_SECONDS:
                    said = self._clock.monotonic()
                    self._say(error)
            except Misconfigured as error:
                self._waiting.clear()
                self.refused.set_result(error)
            await self._clock.sleep(_POLL_SECONDS)
        await stop.wait()

    def _say(self, error: BrokerUnavailable) -> None:
        log.warning("broker_away", detail=f"{error} It is waited for; meanwhile events stay in the database.")
