"""The way of an event in tests: paid, taken by a relay, heard by a listener."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from shop import SECRET, Shop
from support import PaySide, connected

from paybell.clock import Clock, SystemClock
from paybell.messaging.broker import Answer, Broker, Confirm, Message, Topology
from paybell.messaging.events import PaymentSucceeded, topology
from paybell.messaging.handover import Handover
from paybell.messaging.listener_runner import ListenerRunner
from paybell.messaging.outbox import Outbox
from paybell.messaging.publishing import Publishing
from paybell.messaging.refused import RefusedEvents
from paybell.messaging.relay import Relay, Retrier
from paybell.messaging.signatures import EventKeys
from paybell.messaging.wire import Wire
from paybell.pay.model import PayOrder
from paybell.storage import Query
from paybell.telemetry.observers import ListenerObserver, Observer, RelayObserver
from paybell.testing import FaultyBroker
from paybell.trade.payment_listener import payment_listener


class Said(Observer):
    """Writes down what a relay hears."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.confirms: list[Confirm] = []
        self.lease_lost = 0
        self.waiting = 0

    @contextmanager
    def publishing(self, traceparents: Sequence[str], messages: int) -> Iterator[None]:
        """Count."""
        del traceparents
        self.waiting += messages
        try:
            yield
        finally:
            self.waiting -= messages

    def published(self, confirms: Mapping[str, int]) -> None:
        """Remember."""
        for name, count in confirms.items():
            self.confirms += [Confirm(name)] * count

    def leases_lost(self, events: int) -> None:
        """Remember."""
        self.lease_lost += events


class Heard(Observer):
    """Counts what a listener hears."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.events = 0
        self.duplicates = 0
        self.of_others = 0

    def applied(self, events: int, duplicates: int) -> None:
        """Count."""
        self.events += events
        self.duplicates += duplicates

    def ignored(self, events: int) -> None:
        """Count."""
        self.of_others += events


class MeanwhileBroker(FaultyBroker):
    """Publishes, and lets something happen before the sender hears of it; ``meanwhile`` may raise."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def publish(self, messages: Sequence[Message], deadline_seconds: float) -> Sequence[Answer]:
        """Pass on, then wait for what happens meanwhile, once."""
        confirms = await super().publish(messages, deadline_seconds)
        happening, self.meanwhile = self.meanwhile, None
        if happening:
            await happening()
        return confirms


@dataclass(frozen=True, slots=True)
class Relays:
    """A relay, and who tries again what it set aside."""

    relay: Relay
    retrier: Retrier
    refused: RefusedEvents

    async def run_once(self) -> int:
        """Publish one batch."""
        return await self.relay.run_once()

    async def retry_once(self) -> int:
        """Try one route that is due."""
        return await self.retrier.run_once()


def relay(
    outbox: Outbox,
    broker: Broker,
    observer: RelayObserver | None = None,
    *,
    batch_max: int = 500,
    lease_seconds: float = 20.0,
    declares: Topology | None = None,
    content_type: str = "text/x-json",
    clock: Clock | None = None,
    handover: Handover | None = None,
) -> Relays:
    """Make a relay as the runtime does; writers hand over to it only where a handover is given."""
    seen, clock, wire = (
        observer or Observer(),
        clock or SystemClock(),
        Wire(EventKeys(token_secret=SECRET), content_type),
    )
    refused = RefusedEvents(outbox._database)
    publishing = Publishing(broker, declares or topology(), seen, clock, lease_seconds / 2)
    bounds = {"clock": clock, "batch_max": batch_max, "lease_seconds": lease_seconds}
    handed = handover or Handover(clock)
    relay = Relay(outbox, refused, publishing, wire, seen, handover=handed, **bounds)  # type: ignore[arg-type]
    return Relays(relay, Retrier(refused, publishing, wire, **bounds), refused)  # type: ignore[arg-type]


def trade_listener(
    world: Shop, broker: Broker, observer: ListenerObserver | None = None
) -> ListenerRunner[PaymentSucceeded]:
    """Make the order service's listener."""
    (binding,) = topology().bindings
    return ListenerRunner(
        payment_listener(binding, world.proof),
        broker,
        world.database,
        SystemClock(),
        observer or Observer(),
        batch_max=500,
    )


@asynccontextmanager
async def listening(*runners: ListenerRunner[Any]) -> AsyncIterator[None]:
    """Run listeners until the block ends; what they were given by then is settled."""
    stop = asyncio.Event()
    running = [asyncio.create_task(runner.run(stop)) for runner in runners]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*running)


async def pay(side: PaySide, *numbers: int) -> list[PayOrder]:
    """Make orders of user 7, who has the money, and pay them all at once."""
    orders = await asyncio.gather(*(side.order(number, "7", 100) for number in numbers))
    answers = await asyncio.gather(*(side.attempt(order.id, "7") for order in orders))
    paid = [answer for answer in answers if isinstance(answer, PayOrder)]
    assert len(paid) == len(numbers), answers
    return paid


async def pending(side: PaySide) -> int:
    """Count the events that wait to be published."""
    row = await side.database.fetch_one(Query("SELECT count(*) AS events FROM unpublished_events"))
    return int(row["events"]) if row else 0


async def expire_leases(pay_url: str) -> None:
    """Put outbox and refused events in the state that time leaves: every lease and every wait has run out."""
    async with connected(pay_url) as rows:
        await rows.execute("UPDATE outbox SET leased_until = now() - interval '1 second'")
        await rows.execute("UPDATE refused_routes SET due_at = now() - interval '1 second'")
