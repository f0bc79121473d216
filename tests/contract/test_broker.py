"""What both brokers do alike: the local one is a stand-in for RabbitMQ because this suite says so."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import cast

import pytest
from amqp import line, rabbit, unique
from support import seeded, until

from paybell.errors import BrokerUnavailable, Misconfigured
from paybell.messaging.broker import (
    MESSAGE_BODY_MAX,
    Binding,
    Broker,
    Confirm,
    Consumer,
    Delivery,
    Denied,
    Exchange,
    Message,
    Queue,
    Queues,
    QueueState,
    Topology,
)
from paybell.messaging.local import QUEUE_MAX, LocalBroker

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DEADLINE = 20.0
ids = count(1)


@pytest.fixture(params=["local", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    """Each broker in turn."""
    if request.param == "local":
        yield LocalBroker()
        return
    async with rabbit(request.getfixturevalue("rabbitmq_url")) as connected:
        yield connected


@dataclass(frozen=True)
class Route:
    """A direct exchange, a queue and the key between them, used by nobody else."""

    exchange: Exchange
    queue: Queue
    key: str = "paid"

    @property
    def topology(self) -> Topology:
        """What to declare."""
        return Topology([self.exchange], [Binding(self.queue, self.exchange, self.key)])

    def message(self, body: bytes = b"1", *, key: str | None = None, must_route: bool = True) -> Message:
        """Make a message for it."""
        return Message(
            exchange=self.exchange.name,
            routing_key=self.key if key is None else key,
            body=body,
            message_id=f"message-{next(ids)}",
            content_type="text/x-json",
            type="pay.success",
            timestamp=NOON,
            headers={"traceparent": "00-1-2-00"},
            must_route=must_route,
        )

    def messages(self, number: int) -> list[Message]:
        """Make so many, numbered from 0."""
        return [self.message(str(index).encode()) for index in range(number)]


@pytest.fixture
async def route(broker: Broker) -> Route:
    """A declared route."""
    route = Route(Exchange(unique("direct")), Queue(unique("queue")))
    await broker.declare(route.topology)
    return route


async def receive(consumer: Consumer, number: int) -> list[Delivery]:
    """Receive so many deliveries, in however many portions they come."""
    received: list[Delivery] = []
    async with asyncio.timeout(DEADLINE):
        while len(received) < number:
            received += await consumer.receive(number - len(received))
    return received


class Arrivals(asyncio.Queue[bytes]):
    """What arrived and was settled."""

    async def take(self, number: int) -> list[bytes]:
        """Wait for so many bodies; there must not be more."""
        async with asyncio.timeout(DEADLINE):
            taken = [await self.get() for _ in range(number)]
        assert self.empty()
        return taken


@asynccontextmanager
async def settled(broker: Broker, queue: Queue) -> AsyncIterator[Arrivals]:
    """Consume in the background, because the local broker confirms what was settled."""
    arrivals = Arrivals()

    async def consume() -> None:
        async with broker.consume(queue.name, 1_000) as consumer:
            while True:
                deliveries = await consumer.receive(500)
                await consumer.acknowledge(deliveries)
                for delivery in deliveries:
                    arrivals.put_nowait(delivery.body)

    task = asyncio.create_task(consume())
    try:
        yield arrivals
    finally:
        task.cancel()
        await asyncio.wait([task])


def bodies(deliveries: Sequence[Delivery]) -> list[int]:
    return [int(delivery.body) for delivery in deliveries]


async def test_a_message_arrives_as_it_was_sent_and_is_confirmed(broker: Broker, route: Route) -> None:
    message = route.message("订单 1".encode())
    publishing = asyncio.create_task(broker.publish([message], DEADLINE))
    async with broker.consume(route.queue.name, 10) as consumer:
        (delivery,) = await receive(consumer, 1)
        await consumer.acknowledge([delivery])

        assert (delivery.exchange, delivery.routing_key) == (message.exchange, message.routing_key)
        assert (delivery.body, delivery.cut) == (message.body, False)
        assert (delivery.content_type, delivery.message_id) == (message.content_type, message.message_id)
        assert delivery.headers == message.headers
        assert await publishing == [Confirm.CONFIRMED]


async def test_order_is_kept(broker: Broker, route: Route) -> None:
    """Also over two publishes."""
    first, second = route.messages(1_000)[:500], route.messages(1_000)[500:]
    publishing = [asyncio.create_task(broker.publish(batch, DEADLINE)) for batch in (first, second)]
    async with broker.consume(route.queue.name, 2_000) as consumer:
        deliveries = await receive(consumer, 1_000)
        await consumer.acknowledge(deliveries)

        assert bodies(deliveries) == list(range(1_000))
        assert await asyncio.gather(*publishing) == [[Confirm.CONFIRMED] * 500] * 2


async def test_publishing_nothing_is_done_at_once(broker: Broker) -> None:
    assert await broker.publish([], DEADLINE) == []


async def test_a_message_without_a_queue_comes_back_unless_the_sender_does_not_mind(
    broker: Broker, route: Route
) -> None:
    """An unroutable message is confirmed as well at RabbitMQ; that must not be taken for success."""
    lost, unminded = (
        route.message(key="nobody"),
        route.message(key="nobody", must_route=False),
    )

    assert await broker.publish([lost, unminded], DEADLINE) == [Confirm.RETURNED, Confirm.CONFIRMED]


@pytest.mark.parametrize("equal", [False, True], ids=["different bodies", "equal bodies"])
async def test_exactly_the_unroutable_ones_of_a_batch_come_back(
    broker: Broker, route: Route, equal: bool
) -> None:
    """However many, wherever they stand, and with another batch in flight."""
    random = seeded()
    for lost in ({250}, {0}, {499}, set(random.sample(range(500), 100)), set(range(500)), set[int]()):
        messages = [
            route.message(
                b"1" if equal else str(index).encode(), key="nobody" if index in lost else route.key
            )
            for index in range(500)
        ]
        async with settled(broker, route.queue) as arrived:
            confirms, others = await asyncio.gather(
                broker.publish(messages, DEADLINE), broker.publish(route.messages(300), DEADLINE)
            )
            await arrived.take(800 - len(lost))

        assert {index for index, one in enumerate(confirms) if one is Confirm.RETURNED} == lost
        assert confirms.count(Confirm.CONFIRMED) == 500 - len(lost)
        assert others == [Confirm.CONFIRMED] * 300


async def test_an_exchange_that_is_gone_confirms_nothing_and_spoils_nothing(
    broker: Broker, route: Route
) -> None:
    nowhere = Route(Exchange(unique("nowhere")), route.queue)
    async with settled(broker, route.queue):
        (said,) = await broker.publish([nowhere.message()], DEADLINE)
        assert isinstance(said, Denied)
        assert said.code == 404
        assert nowhere.exchange.name in said.text
        assert await broker.publish([route.message()], DEADLINE) == [Confirm.CONFIRMED]


async def test_unsettled_deliveries_come_again_in_order_when_their_consumer_is_gone(
    broker: Broker, route: Route
) -> None:
    publishing = asyncio.create_task(broker.publish(route.messages(10), DEADLINE))
    async with broker.consume(route.queue.name, 6) as consumer:
        await receive(consumer, 6)
    # RabbitMQ hears of the end of one channel and the beginning of another in either order.
    await until(lambda: _stands(cast("Queues", broker), route.queue.name, QueueState(10, 0)))
    async with broker.consume(route.queue.name, 10) as consumer:
        again = await receive(consumer, 10)
        await consumer.acknowledge(again)

        assert bodies(again) == list(range(10))
        assert await publishing == [Confirm.CONFIRMED] * 10


async def test_a_consumer_that_fails_loses_nothing(broker: Broker, route: Route) -> None:
    publishing = asyncio.create_task(broker.publish([route.message(b"7")], DEADLINE))

    async def fail() -> None:
        async with broker.consume(route.queue.name, 10) as consumer:
            await receive(consumer, 1)
            raise RuntimeError("listener")

    with pytest.raises(RuntimeError, match="listener"):
        await fail()
    async with broker.consume(route.queue.name, 10) as consumer:
        again = await receive(consumer, 1)
        await consumer.acknowledge(again)

        assert (bodies(again), await publishing) == ([7], [Confirm.CONFIRMED])


async def test_settling_acknowledges_everything_up_to_the_last(broker: Broker, route: Route) -> None:
    publishing = asyncio.create_task(broker.publish(route.messages(5), DEADLINE))
    async with broker.consume(route.queue.name, 10) as consumer:
        deliveries = await receive(consumer, 5)
        await consumer.acknowledge([deliveries[2]])
    async with broker.consume(route.queue.name, 10) as consumer:
        again = await receive(consumer, 2)
        await consumer.acknowledge(again)

        assert bodies(again) == [3, 4]
        assert await publishing == [Confirm.CONFIRMED] * 5


async def test_no_more_than_the_prefetch_is_unsettled(broker: Broker, route: Route) -> None:
    """The rest goes to whoever has room, and settling makes room."""
    publishing = asyncio.create_task(broker.publish(route.messages(10), DEADLINE))
    async with broker.consume(route.queue.name, 3) as full:
        held = await receive(full, 3)
        more = asyncio.create_task(full.receive(10))
        async with broker.consume(route.queue.name, 10) as roomy:
            rest = await receive(roomy, 7)
            await roomy.acknowledge(rest)
            assert not more.done()
        await full.acknowledge(held)
        assert (bodies(held), bodies(rest)) == ([0, 1, 2], [3, 4, 5, 6, 7, 8, 9])
        assert await publishing == [Confirm.CONFIRMED] * 10

        publishing = asyncio.create_task(broker.publish([route.message(b"10")], DEADLINE))
        last = await more
        await full.acknowledge(last)
        assert (bodies(last), await publishing) == ([10], [Confirm.CONFIRMED])


async def test_receiving_gives_no_more_than_was_asked_for(broker: Broker, route: Route) -> None:
    publishing = asyncio.create_task(broker.publish(route.messages(10), DEADLINE))
    async with broker.consume(route.queue.name, 100) as consumer:
        portions: list[Sequence[Delivery]] = []
        while sum(map(len, portions)) < 10:
            portions.append(await consumer.receive(4))
        await consumer.acknowledge(portions[-1])

        assert max(map(len, portions)) <= 4
        assert [number for portion in portions for number in bodies(portion)] == list(range(10))
        assert await publishing == [Confirm.CONFIRMED] * 10


async def test_two_consumers_of_a_queue_share_its_messages(broker: Broker, route: Route) -> None:
    """Each message goes to one of them."""
    publishing = asyncio.create_task(broker.publish(route.messages(4), DEADLINE))
    async with broker.consume(route.queue.name, 2) as one, broker.consume(route.queue.name, 2) as other:
        mine, others = await receive(one, 2), await receive(other, 2)
        await one.acknowledge(mine)
        await other.acknowledge(others)

        assert sorted(bodies(mine) + bodies(others)) == [0, 1, 2, 3]
        assert await publishing == [Confirm.CONFIRMED] * 4


async def test_every_bound_queue_gets_a_copy_but_only_one(broker: Broker, route: Route) -> None:
    """However many of a queue's bindings match."""
    events = Exchange(unique("events"), "topic")
    second = Queue(unique("second"))
    bindings = [(route.queue, "pay.*"), (route.queue, "#"), (second, "pay.success")]
    await broker.declare(Topology([events], [Binding(queue, events, key) for queue, key in bindings]))
    to_both = Route(events, route.queue, "pay.success")
    async with settled(broker, route.queue) as first, settled(broker, second) as others:
        assert await broker.publish([to_both.message(b"7")], DEADLINE) == [Confirm.CONFIRMED]
        assert (await first.take(1), await others.take(1)) == ([b"7"], [b"7"])


def matches(pattern: str, key: str) -> bool:
    """AMQP 0-9-1, 3.1.3.3, as a regular expression over words that end with a dot."""
    wildcards = {"*": r"[^.]*\.", "#": r"(?:[^.]*\.)*"}
    words = pattern.split(".") if pattern else []
    expression = "".join(wildcards.get(word, re.escape(word) + r"\.") for word in words)
    return re.fullmatch(expression, f"{key}." if key else "") is not None


async def test_topic_wildcards_match_words(broker: Broker, route: Route) -> None:
    """``*`` is one word and ``#`` any number, also none, against an independent reading of the standard."""
    random = seeded()
    words = ["pay", "success", "a", ""]
    patterns = ["", "*", "#", "pay.*", "pay.#", "#.pay", "*.success", "pay.#.success", "#.#", "*.#"]
    patterns += [".".join(random.choices([*words, "*", "#"], k=random.randint(1, 5))) for _ in range(10)]
    keys = ["", ".", "pay", "pay.success", "pay.a.success", "pay.a.a.success", "success.pay", "PAY.success"]
    keys += [".".join(random.choices(words, k=random.randint(1, 5))) for _ in range(30)]
    events, queue_of = Exchange(unique("events"), "topic"), {one: Queue(unique("queue")) for one in patterns}
    bindings = [Binding(queue, events, pattern) for pattern, queue in queue_of.items()]
    ends = [Binding(queue, route.exchange, "end") for queue in queue_of.values()]
    await broker.declare(Topology([events], [*bindings, *ends]))

    topic = Route(events, route.queue)
    messages = [topic.message(key.encode(), key=key, must_route=False) for key in keys]
    publishing = asyncio.create_task(
        broker.publish([*messages, route.message(b"the end", key="end")], DEADLINE)
    )
    for pattern, queue in queue_of.items():
        async with broker.consume(queue.name, 100) as consumer:
            arrived: list[str] = []
            while "the end" not in arrived:
                deliveries = await consumer.receive(100)
                await consumer.acknowledge(deliveries)
                arrived += [delivery.body.decode() for delivery in deliveries]
        assert arrived[:-1] == [key for key in keys if matches(pattern, key)], pattern
    assert await publishing == [Confirm.CONFIRMED] * (len(keys) + 1)


async def test_a_long_body_arrives_cut_and_says_so(broker: Broker, route: Route) -> None:
    """Cut at the bound, not before; an empty one arrives as well."""
    sizes = [0, 1, MESSAGE_BODY_MAX, MESSAGE_BODY_MAX + 1, 10 * MESSAGE_BODY_MAX]
    publishing = asyncio.create_task(broker.publish([route.message(b"5" * size) for size in sizes], DEADLINE))
    async with broker.consume(route.queue.name, 10) as consumer:
        deliveries = await receive(consumer, len(sizes))
        await consumer.acknowledge(deliveries)

        assert [len(delivery.body) for delivery in deliveries] == [
            0,
            1,
            MESSAGE_BODY_MAX,
            MESSAGE_BODY_MAX,
            MESSAGE_BODY_MAX,
        ]
        assert [delivery.cut for delivery in deliveries] == [False, False, False, True, True]
        assert await publishing == [Confirm.CONFIRMED] * len(sizes)


async def test_declaring_again_changes_nothing(broker: Broker, route: Route) -> None:
    publishing = asyncio.create_task(broker.publish([route.message(b"7")], DEADLINE))
    await broker.declare(route.topology)
    await broker.declare(route.topology)
    async with broker.consume(route.queue.name, 10) as consumer:
        deliveries = await receive(consumer, 1)
        await consumer.acknowledge(deliveries)

        assert (bodies(deliveries), await publishing) == ([7], [Confirm.CONFIRMED])


async def test_an_exchange_of_another_type_is_refused_and_stays(broker: Broker, route: Route) -> None:
    other = Topology([Exchange(route.exchange.name, "topic")], [])

    with pytest.raises(Misconfigured, match=rf"exchange {route.exchange.name}.*type.*deletes nothing"):
        await broker.declare(other)
    async with settled(broker, route.queue):
        assert await broker.publish([route.message()], DEADLINE) == [Confirm.CONFIRMED]


async def test_a_queue_of_another_type_is_refused_and_stays(broker: Broker, route: Route) -> None:
    """With what waits in it."""
    publishing = asyncio.create_task(broker.publish([route.message(b"7")], DEADLINE))
    other = Binding(Queue(route.queue.name, "quorum"), route.exchange, route.key)

    with pytest.raises(Misconfigured, match=rf"queue {route.queue.name}.*type.*deletes nothing"):
        await broker.declare(Topology([], [other]))
    async with broker.consume(route.queue.name, 10) as consumer:
        deliveries = await receive(consumer, 1)
        await consumer.acknowledge(deliveries)

        assert (bodies(deliveries), await publishing) == ([7], [Confirm.CONFIRMED])


async def test_a_queue_cannot_be_bound_to_an_exchange_that_is_not_there(broker: Broker) -> None:
    binding = Binding(Queue(unique("queue")), Exchange(unique("nowhere")), "paid")

    with pytest.raises(BrokerUnavailable, match=binding.exchange.name):
        await broker.declare(Topology([], [binding]))


async def test_a_queue_that_is_not_there_cannot_be_consumed(broker: Broker) -> None:
    name = unique("nowhere")

    with pytest.raises(BrokerUnavailable, match=name):
        async with broker.consume(name, 10):
            pytest.fail("it was consumed")


@pytest.mark.parametrize("kind", ["local", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
async def test_a_confirm_that_does_not_come_in_time_means_unknown(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """Nobody settles, or the line is silent; what is published later is confirmed again."""
    route, loop = Route(Exchange(unique("direct")), Queue(unique("queue"))), asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        broker: Broker = LocalBroker()
        proxy = None
        if kind == "rabbitmq":
            url = request.getfixturevalue("rabbitmq_url")
            proxy = await stack.enter_async_context(line(url))
            broker = await stack.enter_async_context(rabbit(url, through=proxy.url))
        await broker.declare(route.topology)
        if proxy:
            proxy.fall_silent()
        started = loop.time()
        confirms = await broker.publish([route.message(), route.message()], 0.2)
        took = loop.time() - started
        if proxy:
            proxy.recover()

        assert confirms == [Confirm.UNKNOWN] * 2
        assert 0.15 < took < 2
        async with settled(broker, route.queue) as arrived:
            assert await broker.publish([route.message(b"7")], DEADLINE) == [Confirm.CONFIRMED]
            assert b"7" in await arrived.take(3)


async def test_the_local_broker_confirms_when_the_last_listener_has_settled() -> None:
    """It keeps nothing on disk, so before that the event has to stay in the outbox."""
    broker, events = LocalBroker(), Exchange("events")
    queues = [Queue("one"), Queue("other")]
    await broker.declare(Topology([events], [Binding(queue, events, "paid") for queue in queues]))
    publishing = asyncio.create_task(
        broker.publish([Route(events, queues[0]).message(), Route(events, queues[0]).message()], DEADLINE)
    )
    async with broker.consume("one", 10) as one, broker.consume("other", 10) as other:
        await one.acknowledge(await receive(one, 2))
        first, second = await receive(other, 2)
        await other.acknowledge([first])
        await asyncio.sleep(0)
        assert not publishing.done()
        await other.acknowledge([second])

        assert await publishing == [Confirm.CONFIRMED] * 2


async def test_the_local_broker_takes_no_more_than_it_can_hold() -> None:
    """Where nobody listens the events stay in the outbox, not in memory."""
    broker = LocalBroker()
    route = Route(Exchange("direct"), Queue("queue"))
    await broker.declare(route.topology)

    confirms = await broker.publish(route.messages(QUEUE_MAX + 2), 0.01)

    assert confirms == [Confirm.UNKNOWN] * QUEUE_MAX + [Confirm.REFUSED] * 2


async def test_a_queue_says_what_waits_in_it_and_who_listens(broker: Broker, route: Route) -> None:
    queues, name = cast("Queues", broker), route.queue.name
    sending = asyncio.ensure_future(broker.publish(route.messages(3), DEADLINE))
    try:
        await until(lambda: _stands(queues, name, QueueState(3, 0)))
        async with broker.consume(name, 10) as consumer:
            held = await receive(consumer, 3)
            await until(lambda: _stands(queues, name, QueueState(0, 1)))
            await consumer.acknowledge(held)
    finally:
        await sending
    await until(lambda: _stands(queues, name, QueueState(0, 0)))

    assert await queues.look_at(unique("missing")) is None


async def _stands(queues: Queues, name: str, expected: QueueState) -> bool:
    return await queues.look_at(name) == expected
