"""Promise 3: what a broker refuses is kept with its reason, costs others nothing, and is told in the end."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
import structlog
from amqp import Stranger, rabbit, stranger
from relaying import Relays, expire_leases, pay, pending, relay
from support import PaySide, until

from paybell.clock import Clock, SystemClock
from paybell.messaging.broker import Answer, Confirm, Denied, Message
from paybell.messaging.events import PAY_DIRECT, PAY_EVENTS, PAY_SUCCESS, TRADE_QUEUE, topology
from paybell.messaging.local import LocalBroker
from paybell.messaging.outbox import Publication
from paybell.messaging.publishing import Outcome
from paybell.messaging.rabbitmq.link import Link
from paybell.messaging.refused import RefusedEvents, wait_seconds
from paybell.storage import Query
from paybell.testing import FaultyBroker, FrozenClock
from paybell.testing.rabbitmq_install import ensure_installed
from paybell.testing.rabbitmq_node import RabbitmqNode
from paybell.worker import Loop, run_loop

TYPED = (PAY_EVENTS.name, PAY_SUCCESS)
BARE = (PAY_DIRECT.name, PAY_SUCCESS)
WAIT_IS_OVER = Query("UPDATE refused_routes SET due_at = clock_timestamp()")
INNOCENT, FULL = "innocent", "full"


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitmqNode]:
    """A node of this module's own, of which rights are taken away."""
    ensure_installed(print)
    with RabbitmqNode.start() as started:
        started.settle()
        yield started


@pytest.fixture
def outside(node: RabbitmqNode) -> Iterator[Stranger]:
    """Somebody else at that node; all queues are gone at the end."""
    with stranger(node.url) as other:
        yield other
        for name in (INNOCENT, FULL):
            other.channel.queue_delete(name)


@asynccontextmanager
async def at_work(relays: Relays) -> AsyncIterator[None]:
    """Run the loops that a process runs."""
    stop = asyncio.Event()
    loops = [
        Loop("relay-0", relays.relay.run_once, idle_seconds=0.05),
        Loop("relay-1", relays.relay.run_once, idle_seconds=0.05),
        Loop("refused-events", relays.retrier.run_once),
    ]
    running = [asyncio.create_task(run_loop(loop, stop, SystemClock())) for loop in loops]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*running)


# Somebody else's queue ---------------------------------------------------------------------------


@pytest.mark.rabbitmq
@pytest.mark.slow
async def test_a_strangers_full_queue_costs_the_others_hardly_a_copy(
    side: PaySide, node: RabbitmqNode, outside: Stranger
) -> None:
    """It refuses every typed event; the bare numbers are confirmed, and nobody gets them again and again."""
    outside.channel.exchange_declare(PAY_EVENTS.name, "topic", durable=True)
    outside.channel.queue_declare(INNOCENT, durable=True)
    outside.channel.queue_declare(
        FULL, durable=True, arguments={"x-max-length": 50, "x-overflow": "reject-publish"}
    )
    for name in (INNOCENT, FULL):
        outside.channel.queue_bind(name, PAY_EVENTS.name, "#")
    paid = 0
    with structlog.testing.capture_logs() as logs:
        async with rabbit(node.url) as broker:
            running = relay(side.outbox, broker)
            async with at_work(running):
                for start in range(5_000, 7_000, 200):
                    paid += len(await pay(side, *range(start, start + 200)))
                    await asyncio.sleep(0.2)  # a while of refusals is what this is about

                async def relayed() -> bool:
                    return (await side.outbox.state())[0] == 0

                await until(relayed, seconds=60)
                kept = await running.refused.routes()
                numbers = outside.depth(TRADE_QUEUE)
                copies = outside.depth(INNOCENT)
                outside.channel.queue_unbind(FULL, PAY_EVENTS.name, "#")
                await release(side)

                async def told() -> bool:
                    return await pending(side) == 0

                await until(told, seconds=60)
            assert outside.depth(TRADE_QUEUE) == numbers == paid

    assert paid <= copies <= paid * 1.01
    assert [(one.exchange, one.routing_key, one.reason) for one in kept] == [(*TYPED, "refused")]
    assert kept[0].events > paid // 2
    refusals = [line for line in logs if line["event"] == "messages_refused"]
    assert [(line["exchange"], line["routing_key"], line["reason"]) for line in refusals] == [
        (*TYPED, "refused")
    ]


async def release(side: PaySide) -> None:
    """Let the wait of every route be over."""
    await side.database.fetch(WAIT_IS_OVER)


# Rights ------------------------------------------------------------------------------------------


def limited(node: RabbitmqNode, user: str) -> str:
    """Make a user with all rights; return the URL to connect with."""
    node.ctl("add_user", user, user)
    node.ctl("set_permissions", user, ".*", ".*", ".*")
    return node.url.replace("guest:guest", f"{user}:{user}")


class Opened:
    """Counts connections."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Watch `Link`."""
        self.count = 0
        made = Link.__init__

        def count(link: Link, connection: object) -> None:
            self.count += 1
            made(link, connection)  # type: ignore[arg-type]

        monkeypatch.setattr(Link, "__init__", count)


@pytest.mark.rabbitmq
@pytest.mark.slow
async def test_one_refused_event_among_many_is_kept_apart_and_told_when_rights_are_back(
    side: PaySide, node: RabbitmqNode, outside: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ ends the channel over it without saying which it was; the others go out all the same."""
    url = limited(node, "no-refunds")
    async with rabbit(url) as broker:
        await broker.declare(topology())
        await asyncio.to_thread(
            node.ctl, "set_topic_permissions", "no-refunds", PAY_EVENTS.name, "^(?!pay.refunded).*", ".*"
        )
        orders = await pay(side, *range(5_001, 5_501))
        await side.refund(orders[0].id, 50)
        await pay(side, *range(6_001, 6_500))
        outside.channel.queue_declare(INNOCENT, durable=True)
        outside.channel.queue_bind(INNOCENT, PAY_EVENTS.name, "#")
        opened, running = Opened(monkeypatch), relay(side.outbox, broker)
        async with at_work(running):

            async def only_one_left() -> bool:
                return (await side.outbox.state())[0] == 0 and await pending(side) == 1

            started = asyncio.get_running_loop().time()
            await until(only_one_left)
            print(f"999 told after {asyncio.get_running_loop().time() - started:.2f} s")  # noqa: T201
            (kept,) = await running.refused.routes()
            assert (kept.exchange, kept.routing_key, kept.reason) == (
                PAY_EVENTS.name, "pay.refunded", "denied"
            )  # fmt: skip
            assert kept.detail.startswith("403 ACCESS_REFUSED")
            assert "pay.refunded" in kept.detail
            await asyncio.to_thread(node.ctl, "clear_topic_permissions", "no-refunds")

            async def told() -> bool:
                return await pending(side) == 0

            await until(told, seconds=30)
        assert opened.count == 0
        assert outside.depth(TRADE_QUEUE) >= 999
        assert "pay.refunded" in {properties.type for properties, _ in outside.take(INNOCENT)}


@pytest.mark.rabbitmq
@pytest.mark.slow
async def test_without_the_right_to_publish_everything_waits_on_one_connection_and_says_so_once(
    side: PaySide, node: RabbitmqNode, outside: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    del outside
    url = limited(node, "reads-only")
    with structlog.testing.capture_logs() as logs:
        async with rabbit(url) as broker:
            await broker.declare(topology())
            await asyncio.to_thread(node.ctl, "set_permissions", "reads-only", ".*", "^$", ".*")
            opened, running = Opened(monkeypatch), relay(side.outbox, broker)
            async with at_work(running):
                for start in range(5_000, 5_100, 10):
                    await pay(side, *range(start, start + 10))
                    assert broker.connected  # which is what /readyz asks

                async def set_aside() -> bool:
                    return (await side.outbox.state())[0] == 0 and await pending(side) == 100

                await until(set_aside)
                await asyncio.to_thread(node.ctl, "set_permissions", "reads-only", ".*", ".*", ".*")

                async def told() -> bool:
                    return await pending(side) == 0

                await until(told, seconds=60)
            assert opened.count == 0

    said = [(line["event"], line.get("routing_key"), line.get("reason")) for line in logs]
    refusals = ("messages_refused", PAY_SUCCESS, "denied")
    assert sorted(said, key=str)[:1] == [refusals]
    assert set(said) == {refusals, ("topology_refused", None, None)}
    assert len(said) <= 3  # the topology, the bare number's route, and the typed event's


# Each kind of refusal ----------------------------------------------------------------------------


class Scripted(FaultyBroker):
    """Answers by route, CONFIRMED where nothing is said; what it was given is written down."""

    def __init__(self, clock: Clock, seconds: float = 0.0) -> None:
        """Take ``seconds`` for each publishing."""
        super().__init__(LocalBroker())
        self.answers: dict[tuple[str, str], Answer] = {}
        self.given: list[tuple[str, str]] = []
        self._clock = clock
        self._seconds = seconds

    async def publish(self, messages: Sequence[Message], deadline_seconds: float) -> Sequence[Answer]:
        """Publish nothing."""
        del deadline_seconds
        self.given += [one.route for one in messages]
        answers = [self.answers.get(one.route, Confirm.CONFIRMED) for one in messages]
        if Confirm.UNKNOWN in answers:
            await self._clock.sleep(self._seconds)
        return answers


@pytest.mark.parametrize("refused", [TYPED, BARE])
@pytest.mark.parametrize(
    "answer", [Confirm.REFUSED, Confirm.RETURNED, Denied(403, "no"), Denied(404, "gone")]
)
async def test_a_refusal_of_one_message_does_not_send_the_confirmed_other_again(
    side: PaySide, pay_url: str, refused: tuple[str, str], answer: Answer
) -> None:
    await pay(side, 5001)
    broker = Scripted(SystemClock())
    broker.answers = {refused: answer}
    running = relay(side.outbox, broker)
    await running.run_once()
    for _ in range(3):
        await expire_leases(pay_url)
        assert await running.retry_once() == 1
    broker.answers.clear()
    await expire_leases(pay_url)
    await running.retry_once()

    assert await pending(side) == 0
    assert sorted(broker.given) == sorted([TYPED, BARE] + [refused] * 4)


async def test_an_event_of_which_both_messages_are_refused_waits_for_each(
    side: PaySide, pay_url: str
) -> None:
    await pay(side, 5001)
    broker = Scripted(SystemClock())
    broker.answers = {BARE: Denied(403, "no"), TYPED: Confirm.REFUSED}
    running = relay(side.outbox, broker)
    await running.run_once()
    del broker.answers[BARE]
    await expire_leases(pay_url)
    await running.retry_once()
    assert [(one.exchange, one.events) for one in await running.refused.routes()] == [
        (PAY_DIRECT.name, 0), (PAY_EVENTS.name, 1)
    ]  # fmt: skip
    broker.answers.clear()
    await expire_leases(pay_url)
    while await running.retry_once():
        pass

    assert await pending(side) == 0
    assert broker.given.count(BARE) == 2


async def test_a_queue_that_does_not_confirm_is_waited_for_once_and_not_with_every_batch(
    side: PaySide, pay_url: str
) -> None:
    """As a quorum queue without a majority; what is published beside it would wait out the deadline, too."""
    await pay(side, 5001)
    clock = FrozenClock()
    broker = Scripted(clock, seconds=10.0)
    broker.answers = {TYPED: Confirm.UNKNOWN}
    running = relay(side.outbox, broker, clock=clock)
    await running.run_once()
    await pay(side, 5002)
    await running.run_once()
    assert broker.given == [BARE, TYPED, BARE]
    assert [one.reason for one in await running.refused.routes()] == ["unanswered"]

    broker.answers.clear()
    await expire_leases(pay_url)
    while await running.retry_once():
        pass
    await pay(side, 5003)
    await running.run_once()
    assert await pending(side) == 0
    assert sorted(broker.given) == [BARE] * 3 + [TYPED] * 4


async def test_a_broker_that_falls_silent_sets_nothing_aside(side: PaySide) -> None:
    """Nothing was answered, so it is nobody's route."""
    await pay(side, 5001)
    clock = FrozenClock()
    broker = Scripted(clock, seconds=10.0)
    broker.answers = {TYPED: Confirm.UNKNOWN, BARE: Confirm.UNKNOWN}
    running = relay(side.outbox, broker, clock=clock)
    await running.run_once()

    assert await running.refused.routes() == []
    assert (await side.outbox.state())[0] == 1


async def test_one_event_is_tried_for_a_route_and_ever_more_when_it_is_taken(
    side: PaySide, pay_url: str
) -> None:
    await pay(side, *range(5001, 5101))
    broker = Scripted(SystemClock())
    broker.answers = {TYPED: Confirm.REFUSED}
    running = relay(side.outbox, broker)
    await running.run_once()
    tried = []
    for refuses in (True, True, False, False, False, False, False, False, False):
        broker.answers = {TYPED: Confirm.REFUSED} if refuses else {}
        await expire_leases(pay_url)
        tried.append(await running.retry_once())

    assert tried == [1, 1, 1, 2, 4, 8, 16, 32, 37]
    assert await pending(side) == 0


async def test_a_relay_whose_lease_of_a_route_is_over_removes_nothing(side: PaySide, pay_url: str) -> None:
    await pay(side, 5001)
    broker = Scripted(SystemClock())
    broker.answers = {TYPED: Confirm.REFUSED}
    running = relay(side.outbox, broker)
    await running.run_once()
    await expire_leases(pay_url)
    refused = RefusedEvents(side.database)
    slow = await refused.take_due_route(uuid4(), 0.0)
    assert slow is not None
    quick = await refused.take_due_route(uuid4(), 60.0)
    assert quick is not None
    now = SystemClock().now()
    outcome = Outcome([one.event.id for one in await refused.events(slow.route, 1)], [], [])
    assert await refused.record(slow, outcome, uuid4(), Publication("1", now, now)) == []

    assert await pending(side) == 1


def test_the_wait_grows_to_minutes_where_a_trial_costs_others_a_copy() -> None:
    assert [wait_seconds("refused", refusals) for refusals in (1, 2, 5, 9, 99)] == [1, 2, 16, 256, 300]
    assert [wait_seconds("denied", refusals) for refusals in (1, 2, 5, 99)] == [1, 2, 10, 10]
