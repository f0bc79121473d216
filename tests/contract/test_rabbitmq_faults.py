"""RabbitMQ on a bad day: what our adapter says then is true, and it recovers by itself."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress

import pika
import pytest
from amqp import (
    EXCHANGE,
    NOON,
    QUEUE,
    TOPOLOGY,
    Raw,
    at,
    everything,
    line,
    message,
    nested,
    rabbit,
    stranger,
    unique,
)
from notebook import BINDING, bare, notebook
from support import until

from paybell.clock import SystemClock
from paybell.errors import BrokerUnavailable, Unavailable
from paybell.messaging.broker import Answer, Binding, Confirm, Exchange, Message, Queue, Topology
from paybell.messaging.rabbitmq import broker as rabbit_broker
from paybell.messaging.rabbitmq import link
from paybell.messaging.rabbitmq.broker import RabbitBroker
from paybell.testing.rabbitmq_commands import Alarm
from paybell.testing.rabbitmq_install import ensure_installed
from paybell.testing.rabbitmq_node import RabbitmqNode
from paybell.worker import Task, run_task

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
async def broker(rabbitmq_url: str) -> AsyncIterator[RabbitBroker]:
    """Our adapter, with a declared queue."""
    async with rabbit(rabbitmq_url) as connected:
        await connected.declare(TOPOLOGY)
        yield connected


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitmqNode]:
    """A node of this module's own, to be killed and blocked."""
    ensure_installed(print)
    with RabbitmqNode.start() as started:
        with stranger(started.url) as other:
            other.channel.exchange_declare(EXCHANGE.name, durable=True)
            other.channel.queue_declare(QUEUE.name, durable=True)
            other.channel.queue_bind(QUEUE.name, EXCHANGE.name, "paid")
        started.settle()
        yield started


# Publishing --------------------------------------------------------------------------------------


class Publishing:
    """Publishes batch after batch and writes down what was said of each message."""

    def __init__(self, broker: RabbitBroker) -> None:
        """Publish with this one object, whatever happens to its connections."""
        self.broker = broker
        self.name = unique("publishing")
        self.said: dict[bytes, Answer] = {}
        self.unavailable = 0
        self.batches = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Go on until stopped."""
        while not stop.is_set():
            batch = [message(f"{self.name}-{len(self.said) + number}".encode()) for number in range(50)]
            try:
                confirms = await self.broker.publish(batch, 5)
            except BrokerUnavailable:
                self.unavailable += 1
                await asyncio.sleep(0.01)
                continue
            self.batches += 1
            self.said |= zip((one.body for one in batch), confirms, strict=True)

    @property
    def interrupted(self) -> bool:
        """Whether a fault was noticed at all."""
        return self.unavailable > 0 or Confirm.UNKNOWN in self.said.values()

    async def through(self, fault: Callable[[], None]) -> None:
        """Publish before, during and after a fault."""
        stop = asyncio.Event()
        running = asyncio.create_task(self.run(stop))
        await self._more_batches(5)
        await asyncio.to_thread(fault)
        await self._more_batches(5)
        stop.set()
        await running

    async def _more_batches(self, number: int) -> None:
        enough = self.batches + number

        async def reached() -> bool:
            return self.batches >= enough and self.broker.connected

        await until(reached, seconds=20)


def crash(node: RabbitmqNode) -> None:
    """Kill it and let it come back."""
    node.kill()
    node.restart()


@pytest.mark.slow
@pytest.mark.parametrize("fault", [RabbitmqNode.close_connections, crash], ids=["closed", "crashed"])
async def test_what_was_confirmed_survives_and_publishing_goes_on(
    node: RabbitmqNode, fault: Callable[[RabbitmqNode], None]
) -> None:
    """The broker closes all connections, or dies and comes back; what is in flight is unknown at most."""
    async with rabbit(node.url) as broker:
        publishing = Publishing(broker)
        for _ in range(5):  # connections may just happen to close between two batches
            await publishing.through(lambda: fault(node))
            if publishing.interrupted:
                break
        # RabbitMQ that is killed may forget acknowledgements: what another test consumed comes back.
        arrived = [body for body in await everything(broker) if body in publishing.said]

    said = set(publishing.said.values())
    assert said <= {Confirm.CONFIRMED, Confirm.UNKNOWN}
    assert publishing.interrupted
    assert {body for body, one in publishing.said.items() if one is Confirm.CONFIRMED} <= set(arrived)
    assert len(arrived) == len(set(arrived)), "the adapter publishes nothing twice by itself"


@pytest.mark.slow
@pytest.mark.parametrize("alarm", ["memory", "disk"])
async def test_an_alarm_holds_publishing_back_and_nothing_else(node: RabbitmqNode, alarm: Alarm) -> None:
    """Unknown at the deadline, then refused, so that no copies pile up; consuming and declaring go on."""
    async with rabbit(node.url) as broker:
        await everything(broker)  # of a test before that killed it
        assert await broker.publish([message(b"before")], 10) == [Confirm.CONFIRMED]
        await asyncio.to_thread(node.block, alarm)
        blocked = [message(str(number).encode()) for number in range(2_000)]
        confirms = await broker.publish(blocked, 0.3)
        assert set(confirms) <= {Confirm.CONFIRMED, Confirm.UNKNOWN}
        assert Confirm.UNKNOWN in confirms

        assert not broker.connected
        for _ in range(5):
            with pytest.raises(BrokerUnavailable, match="alarm"):
                await broker.publish(blocked, 0.3)
        async with asyncio.timeout(5):
            other = Exchange(unique("other"))  # what a broker of tests declares goes with it
            await broker.declare(Topology([other], [Binding(Queue(unique("other")), other, "other")]))
            async with broker.consume(QUEUE.name, 1) as consumer:
                first = await consumer.receive(1)
                await consumer.acknowledge(first)
        assert [one.body for one in first] == [b"before"]

        await asyncio.to_thread(node.unblock, alarm)

        async def connected() -> bool:
            return broker.connected

        await until(connected)
        assert sorted(await everything(broker)) == sorted(one.body for one in blocked)


@pytest.mark.slow
async def test_a_classic_queue_stays_one_where_the_virtual_host_makes_others_quorum_queues(
    node: RabbitmqNode,
) -> None:
    """The queue is older than the default, and is found again after a reconnect."""
    queue = Queue(unique("before"))
    try:
        node.ctl("add_vhost", "changed", "--default-queue-type", "quorum")
    except Unavailable as error:
        pytest.skip(f"no default type of queues: {error}")
    node.ctl("set_permissions", "-p", "changed", "guest", ".*", ".*", ".*")
    url = at(node.url, vhost="changed")
    with stranger(url) as other:
        other.channel.queue_declare(queue.name, durable=True, arguments={"x-queue-type": "classic"})
    async with rabbit(url) as broker:
        await broker.declare(Topology([EXCHANGE], [Binding(queue, EXCHANGE, "before")]))


async def test_a_queue_that_is_full_refuses(rabbitmq_url: str, broker: RabbitBroker) -> None:
    """Exactly what it has no room for (Basic.Nack)."""
    full = unique("full")
    with stranger(rabbitmq_url) as other:
        other.channel.queue_declare(full, arguments={"x-max-length": 3, "x-overflow": "reject-publish"})
        other.channel.queue_bind(full, EXCHANGE.name, "full")
        messages = [
            Message(EXCHANGE.name, "full", b"1", f"{full}-{number}", "text/plain", "pay.success", NOON)
            for number in range(10)
        ]
        confirms = await broker.publish(messages, 10)
        kept = other.take(full)
        other.channel.queue_delete(full)

    accepted = [
        one.message_id for one, said in zip(messages, confirms, strict=True) if said is Confirm.CONFIRMED
    ]
    assert set(confirms) == {Confirm.CONFIRMED, Confirm.REFUSED}
    assert accepted == [properties.message_id for properties, _ in kept]


async def test_a_message_that_cannot_be_written_is_a_bug_and_leaves_the_others_unsent(
    broker: RabbitBroker,
) -> None:
    """Half a batch on the wire would shift the count of all confirms to come."""
    monstrous = Message(EXCHANGE.name, "paid", b"1", "i" * 256, "text/plain", "pay.success", NOON)

    with pytest.raises(OverflowError):
        await broker.publish([message(), monstrous, message()], 10)
    assert await broker.publish([message(b"7")], 10) == [Confirm.CONFIRMED]
    assert await everything(broker) == [b"7"]


async def test_a_line_that_is_reset_under_a_batch_leaves_it_unknown(rabbitmq_url: str) -> None:
    async with line(rabbitmq_url) as proxy, rabbit(rabbitmq_url, through=proxy.url) as broker:
        await broker.declare(TOPOLOGY)
        proxy.fall_silent()
        publishing = asyncio.create_task(broker.publish([message(), message()], 10))
        await until(proxy.holds)
        proxy.cut()

        assert await publishing == [Confirm.UNKNOWN] * 2
        proxy.recover()
        assert await broker.publish([message()], 10) == [Confirm.CONFIRMED]


async def test_a_connection_that_missed_a_deadline_is_not_trusted_again(rabbitmq_url: str) -> None:
    """It may be half open for good; the next batch goes over a new one, long before heartbeats tell."""
    async with line(rabbitmq_url) as proxy, rabbit(rabbitmq_url, through=proxy.url) as broker:
        await broker.declare(TOPOLOGY)
        proxy.fall_silent()
        assert await broker.publish([message()], 0.1) == [Confirm.UNKNOWN]
        assert not broker.connected
        proxy.leave_behind()

        async with asyncio.timeout(5):
            assert await broker.publish([message()], 10) == [Confirm.CONFIRMED]


# Consuming ---------------------------------------------------------------------------------------


async def test_a_queue_deleted_under_a_consumer_is_noticed(rabbitmq_url: str, broker: RabbitBroker) -> None:
    async with asyncio.timeout(10), broker.consume(QUEUE.name, 10) as consumer:
        receiving = asyncio.create_task(consumer.receive(10))
        with stranger(rabbitmq_url) as other:
            other.channel.queue_delete(QUEUE.name)

        with pytest.raises(BrokerUnavailable, match="deleted"):
            await receiving
        with pytest.raises(BrokerUnavailable, match="deleted"):
            await consumer.acknowledge([])


async def test_a_lost_connection_ends_receiving_and_settling(rabbitmq_url: str) -> None:
    """What was received by then comes again."""
    async with line(rabbitmq_url) as proxy, rabbit(rabbitmq_url, through=proxy.url) as broker:
        await broker.declare(TOPOLOGY)
        await broker.publish([message(b"7")], 10)
        async with broker.consume(QUEUE.name, 10) as consumer:
            received = await consumer.receive(10)
            receiving = asyncio.create_task(consumer.receive(10))
            proxy.cut()

            with pytest.raises(BrokerUnavailable):
                await receiving
            with pytest.raises(BrokerUnavailable):
                await consumer.acknowledge(received)
        assert await everything(broker) == [b"7"]


async def test_a_line_that_fell_silent_is_noticed_by_who_consumes(
    rabbitmq_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subscription that brings nothing is made anew; who does not answer to that is gone."""
    monkeypatch.setattr(rabbit_broker, "RENEW_SECONDS", 0.1)
    async with line(rabbitmq_url) as proxy, rabbit(rabbitmq_url, through=proxy.url) as broker:
        await broker.declare(TOPOLOGY)
        async with asyncio.timeout(5), broker.consume(QUEUE.name, 10) as consumer:
            monkeypatch.setattr(link, "ANSWER_TIMEOUT_SECONDS", 0.1)
            proxy.fall_silent()
            with pytest.raises(BrokerUnavailable, match="no answer"):
                await consumer.receive(10)


async def test_a_line_that_fell_silent_is_noticed_by_who_only_waits(rabbitmq_url: str) -> None:
    """The broker's signs of life stop coming: here two a second, of which three may not be missed."""
    url = f"{rabbitmq_url}?heartbeat=1"
    async with line(url) as proxy, rabbit(rabbitmq_url, through=proxy.url) as broker:
        await broker.declare(TOPOLOGY)
        assert broker.connected
        proxy.fall_silent()

        async def gone() -> bool:
            return not broker.connected

        await until(gone, seconds=4)
        proxy.recover()
        assert await broker.publish([message()], 10) == [Confirm.CONFIRMED]


@pytest.mark.slow
async def test_a_subscription_that_ended_without_a_word_is_made_anew(
    node: RabbitmqNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not while something is unsettled, because the new one would bring as much again."""
    drop = f"""
        {{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{QUEUE.name}">>)),
        length([gen_server2:call(amqqueue:get_pid(Q), {{basic_cancel, element(1, C), element(2, C), undefined,
            <<"test">>}}) || C <- rabbit_amqqueue:consumers(Q)])"""
    monkeypatch.setattr(rabbit_broker, "RENEW_SECONDS", 0.1)
    async with asyncio.timeout(20), rabbit(node.url) as broker, broker.consume(QUEUE.name, 2) as consumer:
        assert await broker.publish([message(b"%d" % number) for number in range(3)], 10)
        first = [*await consumer.receive(1), *await consumer.receive(1)]
        third = asyncio.create_task(consumer.receive(3))
        await asyncio.wait([third], timeout=0.5)
        assert not third.done()
        await consumer.acknowledge(first)
        await consumer.acknowledge(await third)

        assert node.evaluate(drop) == "1"
        receiving = asyncio.create_task(consumer.receive(1))
        await broker.publish([message(b"3")], 10)
        last = await receiving
        await consumer.acknowledge(last)
        assert [one.body for one in last] == [b"3"]


async def consuming_again(url: str, trade_url: str, fault: Callable[[], object]) -> None:
    """Put a fault to a listener that runs as a worker runs it; it has to be at work again within 10 s."""
    stop = asyncio.Event()
    async with rabbit(url) as broker, notebook(trade_url, SystemClock(), broker) as book:
        await broker.declare(Topology([BINDING.exchange], [BINDING]))
        running = asyncio.create_task(run_task(Task("listener", book.runner.run), stop, SystemClock()))

        async def heard(number: int) -> None:
            async def written() -> bool:
                with suppress(BrokerUnavailable):
                    if number not in await book.written():
                        await broker.publish([bare(number)], 1)
                return number in await book.written()

            await until(written)

        await heard(5001)
        fault()
        await heard(5002)
        stop.set()
        await running
        assert await book.written() == [5001, 5002]


async def test_a_listener_whose_queue_is_deleted_is_at_work_again(rabbitmq_url: str, trade_url: str) -> None:
    """It declares the queue anew, by itself."""

    def delete() -> None:
        with stranger(rabbitmq_url) as other:
            other.channel.queue_delete(BINDING.queue.name)

    await consuming_again(rabbitmq_url, trade_url, delete)


@pytest.mark.slow
async def test_a_listener_whose_broker_dies_is_at_work_again(node: RabbitmqNode, trade_url: str) -> None:
    """Within 10 s of the broker's return."""
    await consuming_again(node.url, trade_url, lambda: crash(node))


HOSTILE = {
    "a time beyond the calendar": b"\x01tT" + struct.pack(">Q", 2**63 - 1),
    "a name that is no text": b"\x02\xff\xfeS" + struct.pack(">I", 2) + b"\xff\xfe",
    "deeply nested": nested(5_000),
    "nested": nested(300),
}


@pytest.mark.parametrize("table", HOSTILE.values(), ids=HOSTILE.keys())
async def test_headers_that_the_client_cannot_read_end_no_connection(
    rabbitmq_url: str, broker: RabbitBroker, table: bytes
) -> None:
    """The message would come again on the next one, and the next, and nobody behind it would be heard."""
    with stranger(rabbitmq_url) as other:
        other.publish(EXCHANGE.name, "paid", b"6", pika.BasicProperties(headers={"a": 1}))
        other.publish(EXCHANGE.name, "paid", b"7" * 300_000, Raw(table))
        other.publish(EXCHANGE.name, "paid", b"8", pika.BasicProperties(headers={"b": "x"}))
    async with asyncio.timeout(10), broker.consume(QUEUE.name, 10) as consumer:
        deliveries = list(await consumer.receive(10))
        while len(deliveries) < 3:
            deliveries += await consumer.receive(10)
        await consumer.acknowledge(deliveries)

    assert [one.body[:1] for one in deliveries] == [b"6", b"7", b"8"]
    assert deliveries[1].cut
    assert (deliveries[0].headers, deliveries[2].headers) == ({"a": 1}, {"b": "x"})
