"""What goes over the wire, byte for byte, as the article's Java services see it and send it."""

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any

import msgspec
import pika
import pytest
from amqp import Raw, Stranger, nested, rabbit, stranger
from notebook import BINDING, Notebook, notebook
from relaying import Said, listening, pay, pending, relay, trade_listener
from shop import SECRET, shop, signed
from support import PaySide, until

from paybell.clock import SystemClock, rfc3339
from paybell.errors import Misconfigured
from paybell.messaging.broker import MESSAGE_BODY_MAX, Binding, Confirm, Queue, Topology
from paybell.messaging.events import PAY_DIRECT, PAY_EVENTS, TRADE_QUEUE, relay_topology, topology
from paybell.messaging.rabbitmq.broker import RabbitBroker
from paybell.messaging.signatures import EventKeys
from paybell.pay.model import PayOrder
from paybell.storage import Database
from paybell.testing import FaultyBroker
from paybell.tokens import Principal

pytestmark = pytest.mark.rabbitmq

JAVA_LONG = bytes.fromhex(
    "aced00057372000e6a6176612e6c616e672e4c6f6e673b8be490cc8f23df0200014a000576616c7565"
    "787200106a6176612e6c616e672e4e756d62657286ac951d0b94e08b0200007870"
)
EVERYTHING = "everything"


@pytest.fixture
async def broker(rabbitmq_url: str) -> AsyncIterator[RabbitBroker]:
    """Our adapter at a broker that knows nothing yet."""
    everything = Binding(Queue(EVERYTHING), PAY_EVENTS, "#")
    names = Topology([PAY_DIRECT, PAY_EVENTS], [*topology().bindings, everything, BINDING])
    with stranger(rabbitmq_url) as other:
        other.forget(names)
    async with rabbit(rabbitmq_url) as connected:
        yield connected
    with stranger(rabbitmq_url) as other:
        other.forget(names)


@pytest.fixture
def outside(rabbitmq_url: str, broker: RabbitBroker) -> Iterator[Stranger]:
    """A plain client beside it."""
    del broker  # what it knows is forgotten after this one has left
    with stranger(rabbitmq_url) as other:
        yield other


@pytest.fixture
async def side(pay_database: Database) -> PaySide:
    """The pay service, and a user 7 with money."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000_000)
    return side


def given(properties: Any) -> dict[str, Any]:
    """Return the properties that a message has."""
    return {name: value for name, value in vars(properties).items() if value is not None}


# What we say -------------------------------------------------------------------------------------


async def test_a_payment_is_a_bare_number_on_the_articles_queue(
    side: PaySide, broker: RabbitBroker, outside: Stranger
) -> None:
    """Digits that both of Spring's converters read as the same Long, and everything else in headers."""
    (order,) = await pay(side, 1659160216593354754)
    assert order.succeeded_at
    assert await relay(side.outbox, broker).run_once() == 1

    ((properties, body),) = outside.take(TRADE_QUEUE)
    assert body == b"1659160216593354754"
    event_id = f"{order.id}-{order.version}"
    attempt = properties.message_id.removeprefix(f"{event_id}#")
    assert attempt not in ("", properties.message_id)
    traceparent = properties.headers["traceparent"]
    assert len(traceparent) == 55
    assert given(properties) == {
        "content_type": "text/x-json",
        "content_encoding": "UTF-8",
        "delivery_mode": 2,
        "message_id": f"{event_id}#{attempt}",
        "timestamp": int(order.succeeded_at.timestamp()),
        "type": "pay.success",
        "headers": {
            "__TypeId__": "java.lang.Long",
            "cloudEvents:id": event_id,
            "cloudEvents:source": "/paybell/pay",
            "cloudEvents:type": "pay.success",
            "cloudEvents:time": rfc3339(order.succeeded_at),
            "cloudEvents:specversion": "1.0",
            "traceparent": traceparent,
            "paybell-merchant": "1",
            "paybell-signature": signed(1659160216593354754),
        },
    }


async def test_a_payment_is_a_typed_event_beside_it(
    side: PaySide, broker: RabbitBroker, outside: Stranger
) -> None:
    """CloudEvents 1.0 in structured mode, under the event type as key."""
    (order,) = await pay(side, 5001)
    await broker.declare(topology())
    outside.channel.queue_declare(EVERYTHING, durable=True)
    outside.channel.queue_bind(EVERYTHING, "pay.events", "pay.success")
    await relay(side.outbox, broker).run_once()

    ((properties, body),) = outside.take(EVERYTHING)
    event = msgspec.json.decode(body)
    assert order.succeeded_at
    assert given(properties) == {
        "content_type": "application/cloudevents+json",
        "content_encoding": "UTF-8",
        "delivery_mode": 2,
        "message_id": properties.message_id,
        "timestamp": int(order.succeeded_at.timestamp()),
        "type": "pay.success",
        "headers": {
            "traceparent": event["traceparent"],
            "paybell-signature": EventKeys(token_secret=SECRET).sign_event(body),
        },
    }
    assert event == {
        "specversion": "1.0",
        "id": f"{order.id}-2",
        "source": "/paybell/pay",
        "type": "pay.success",
        "time": event["time"],
        "subject": "5001",
        "datacontenttype": "application/json",
        "traceparent": event["traceparent"],
        "data": {
            "payOrderId": str(order.id),
            "bizOrderNo": "5001",
            "merchantId": "1",
            "payerId": "7",
            "amount": 100,
            "currency": "CNY",
            "subject": "",
            "status": "TRADE_SUCCESS",
            "version": 2,
            "createdAt": event["data"]["createdAt"],
            "expiresAt": event["data"]["expiresAt"],
            "succeededAt": event["data"]["succeededAt"],
            "closedAt": None,
            "refundedAmount": 0,
            "channel": "balance",
        },
    }
    for moment, text in ((order.succeeded_at, event["time"]), (order.expires_at, event["data"]["expiresAt"])):
        assert datetime.fromisoformat(text) == moment
        assert text.endswith("Z")


async def test_a_closed_order_is_told_on_the_events_exchange_alone(
    side: PaySide, broker: RabbitBroker, outside: Stranger
) -> None:
    """The article's queue knows payments only."""
    await broker.declare(topology())
    outside.channel.queue_declare(EVERYTHING, durable=True)
    outside.channel.queue_bind(EVERYTHING, "pay.events", "#")
    order = await side.order(5001, "7", 100)
    await side.pay.close(order.id, Principal("shop", frozenset(), "1"), "00-1-2-00")
    await relay(side.outbox, broker).run_once()

    ((properties, body),) = outside.take(EVERYTHING)
    assert properties.type == msgspec.json.decode(body)["type"] == "pay.closed"
    assert outside.take(TRADE_QUEUE) == []
    assert await pending(side) == 0


async def test_each_attempt_has_message_ids_of_its_own(
    side: PaySide, broker: RabbitBroker, outside: Stranger
) -> None:
    """Returns are matched by them; what the event is called stays the same."""
    await pay(side, 5001)
    faulty = FaultyBroker(broker)
    again = relay(side.outbox, faulty)
    faulty.lose_confirms = True
    await again.run_once()
    faulty.lose_confirms = False
    assert await again.run_once() == 1

    (one, _), (other, _) = outside.take(TRADE_QUEUE)
    assert one.message_id != other.message_id
    assert one.headers == other.headers


async def test_the_content_type_of_the_bare_number_can_be_chosen(
    side: PaySide, broker: RabbitBroker, outside: Stranger
) -> None:
    await pay(side, 5001)
    await relay(side.outbox, broker, content_type="application/json").run_once()

    ((properties, _),) = outside.take(TRADE_QUEUE)
    assert properties.content_type == "application/json"


# What we understand ------------------------------------------------------------------------------


def java(body: bytes, content_type: str, **others: Any) -> tuple[bytes, pika.BasicProperties]:
    """Send as Spring AMQP 2.4 does: persistent, priority 0, no message id."""
    return body, pika.BasicProperties(
        content_type=content_type, delivery_mode=2, priority=0, headers=others.pop("headers", {}), **others
    )


LONG = {"headers": {"__TypeId__": "java.lang.Long"}, "content_encoding": "UTF-8"}
CORRELATED = {"spring_listener_return_correlation": "b", "spring_returned_message_correlation": "c"}
ACCEPTED = {
    "the default converter": java(
        JAVA_LONG + struct.pack(">q", 5001), "application/x-java-serialized-object"
    ),
    "the Jackson converter": java(b"5001", "application/json", **LONG),
    "Jackson with ids as strings": java(b'"5001"', "application/json", **LONG),
    "text": java(b"5001", "text/plain", content_encoding="UTF-8"),
    "with publisher returns": java(b"5001", "application/json", headers=CORRELATED, message_id="c2f7"),
    "without any properties": (b"5001", pika.BasicProperties()),
    "no utf-8 in headers": (b"5001", pika.BasicProperties(headers={"name": b"\xff\xfe"}, message_id=b"\xff")),
    "times beyond the calendar": (b"5001", Raw(b"\x01tT" + struct.pack(">Q", 2**63 - 1))),
    "headers nested deeply": (b"5001", Raw(nested(5_000))),
}


@pytest.mark.parametrize("sent", ACCEPTED.values(), ids=ACCEPTED.keys())
async def test_what_java_services_send_is_understood(
    trade_url: str, broker: RabbitBroker, outside: Stranger, sent: tuple[bytes, pika.BasicProperties]
) -> None:
    """In whichever form, and with whatever a stranger puts beside it."""
    async with notebook(trade_url, SystemClock(), broker) as book:
        await broker.declare(Topology([PAY_DIRECT], [BINDING]))
        outside.publish("pay.direct", "pay.success", *sent)
        outside.publish("pay.direct", "pay.success", b"5002")
        async with listening(book.runner):
            await until(two(book))

        assert await book.written() == [5001, 5002]
        assert await book.kept() == []
    assert outside.depth(BINDING.queue.name) == 0


def two(book: Notebook) -> Any:
    async def written() -> bool:
        return len(await book.written()) + len(await book.kept()) == 2

    return written


TEXT = pika.BasicProperties(content_type="text/x-json", message_id="m")
UNREADABLE = {
    "an object": b'{"bizOrderNo":5001}',
    "a fraction": b"12.7",
    "null": b"null",
    "zero": b"0",
    "two to the 63": str(2**63).encode(),
    "negative": b"-5001",
    "nothing": b"",
    "not utf-8": b"50\xff1",
    "nul": b"\x00",
    "half a number": b'"5001',
    "java, truncated": JAVA_LONG + b"\0\0\0",
    "java, negative": JAVA_LONG + struct.pack(">q", -1),
    "java, something else": bytes.fromhex("aced0005740003666f6f"),
    "java, with more behind": JAVA_LONG + struct.pack(">q", 5001) + b"\0",
}


async def test_what_is_no_order_number_ends_in_the_dead_letters(
    trade_url: str, broker: RabbitBroker, outside: Stranger
) -> None:
    """With its bytes as they came and the reason; what stands behind it is heard."""
    async with notebook(trade_url, SystemClock(), broker) as book:
        await broker.declare(Topology([PAY_DIRECT], [BINDING]))
        for body in UNREADABLE.values():
            outside.publish("pay.direct", "pay.success", body, TEXT)
        outside.publish("pay.direct", "pay.success", b"7" * (MESSAGE_BODY_MAX + 1), TEXT)
        outside.publish("pay.direct", "pay.success", b"5002", TEXT)
        async with listening(book.runner):

            async def written() -> bool:
                return await book.written() == [5002]

            await until(written)
        kept = await book.kept()

        assert sorted(row["body"] for row in kept) == sorted([*UNREADABLE.values(), b"7" * MESSAGE_BODY_MAX])
        assert {(row["state"], row["reason"], row["attempts"]) for row in kept} == {("dead", "unreadable", 1)}
        assert {(row["exchange"], row["routing_key"], row["content_type"]) for row in kept} == {
            ("pay.direct", "pay.success", "text/x-json")
        }
    assert outside.depth(BINDING.queue.name) == 0


async def test_a_foreign_message_marks_an_order_paid_if_pay_knows_of_it(
    pay_database: Database, trade_database: Database, broker: RabbitBroker, outside: Stranger
) -> None:
    """A bare number proves nothing: one that is true is believed, one that is not is a dead letter."""
    async with shop(pay_database, trade_database) as world:
        await world.pay.fund("7", 1_000)
        await world.order(5002, "7", 100)
        order = await world.order(5001, "7", 100)
        assert order.pay_order_id
        assert isinstance(await world.pay.attempt(order.pay_order_id, "7"), PayOrder)
        await broker.declare(topology())
        for number in (5001, 5002):
            outside.publish("pay.direct", "pay.success", *java(b"%d" % number, "application/json", **LONG))
        async with listening(trade_listener(world, broker)):

            async def kept() -> bool:
                return len(await world.kept()) == 1

            await until(kept)

        assert await world.statuses() == {5001: "PAID", 5002: "UNPAID"}
        assert [(row["body"], row["reason"]) for row in await world.kept()] == [(b"5002", "not_paid")]


# What the broker must be like --------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["unbound", "deleted"])
async def test_an_event_without_a_queue_is_never_counted_as_sent(
    side: PaySide, broker: RabbitBroker, outside: Stranger, fault: str
) -> None:
    """RabbitMQ confirms it all the same. It stays, and goes out when the relay has declared anew."""
    said = Said()
    running = relay(side.outbox, broker, said)
    await pay(side, 5001)
    await running.run_once()
    if fault == "unbound":
        outside.channel.queue_unbind(TRADE_QUEUE, "pay.direct", "pay.success")
    else:
        outside.channel.queue_delete(TRADE_QUEUE)
    await pay(side, *range(5002, 5012))
    said.confirms.clear()

    assert await running.run_once() == 10
    assert Counter(said.confirms) == {Confirm.RETURNED: 10, Confirm.CONFIRMED: 10}
    assert await pending(side) == 10

    async def sent() -> bool:
        await running.run_once()
        await running.retry_once()
        return await pending(side) == 0

    await until(sent)
    arrived = sorted(int(body) for _, body in outside.take(TRADE_QUEUE))
    assert arrived == list(range(5002 if fault == "deleted" else 5001, 5012))


async def test_a_queue_that_a_java_service_declared_is_used_as_it_is(
    side: PaySide, broker: RabbitBroker, outside: Stranger
) -> None:
    """Spring declares it without arguments, which is a classic queue, as ours is; before or after us."""
    outside.channel.exchange_declare("pay.direct", "direct", durable=True)
    outside.channel.queue_declare(TRADE_QUEUE, durable=True)
    outside.channel.queue_bind(TRADE_QUEUE, "pay.direct", "pay.success")
    await pay(side, 5001)
    await relay(side.outbox, broker).run_once()
    outside.channel.queue_declare(TRADE_QUEUE, durable=True)
    assert [body for _, body in outside.take(TRADE_QUEUE)] == [b"5001"]

    outside.channel.queue_delete(TRADE_QUEUE)
    await broker.declare(topology())
    outside.channel.queue_declare(TRADE_QUEUE, durable=True)
    await pay(side, 5002)
    await relay(side.outbox, broker).run_once()
    assert [body for _, body in outside.take(TRADE_QUEUE)] == [b"5002"]


LAZY = {"x-queue-mode": "lazy", "x-dead-letter-exchange": "trade.pay.dlx"}


async def test_whoever_only_looks_uses_queues_of_others_as_they_are(
    side: PaySide, rabbitmq_url: str, outside: Stranger
) -> None:
    """With arguments that a declaration of ours would be refused for."""
    for name, kind in (("pay.direct", "direct"), ("pay.events", "topic")):
        outside.channel.exchange_declare(name, kind, durable=True)
    async with rabbit(rabbitmq_url, only_looks=True) as looking:
        with pytest.raises(Misconfigured, match=f"no queue {TRADE_QUEUE}.*PAYBELL_BROKER_DECLARE"):
            await looking.declare(topology())
        outside.channel.queue_declare(TRADE_QUEUE, durable=True, arguments=LAZY)
        outside.channel.queue_bind(TRADE_QUEUE, "pay.direct", "pay.success")
        await pay(side, 5001)
        await relay(side.outbox, looking).run_once()
        assert [body for _, body in outside.take(TRADE_QUEUE)] == [b"5001"]
        outside.channel.exchange_delete("pay.events")
        with pytest.raises(Misconfigured, match=r"no exchange pay\.events"):
            await looking.declare(topology())


async def test_a_relay_leaves_the_articles_queue_out_where_a_shop_binds_its_own(
    side: PaySide, broker: RabbitBroker, outside: Stranger
) -> None:
    wanted = relay_topology(article_queue="leave")
    await broker.declare(wanted)
    outside.channel.queue_declare(EVERYTHING, durable=True)
    outside.channel.queue_bind(EVERYTHING, "pay.direct", "pay.success")
    await pay(side, 5001)
    await relay(side.outbox, broker, declares=wanted).run_once()

    assert [body for _, body in outside.take(EVERYTHING)] == [b"5001"]
    assert await broker.look_at(TRADE_QUEUE) is None


@pytest.mark.parametrize(
    ("arguments", "wanted", "named"),
    [
        ({"x-dead-letter-exchange": "trade.pay.dlx"}, "classic", "x-dead-letter-exchange"),
        ({"x-queue-mode": "lazy"}, "classic", "x-queue-mode"),
        ({"x-queue-type": "quorum"}, "classic", "x-queue-type"),
        (None, "quorum", "x-queue-type"),
    ],
    ids=["dead letter exchange", "lazy", "quorum there", "quorum wanted"],
)
async def test_a_queue_with_other_arguments_is_named_and_left_alone(
    broker: RabbitBroker, outside: Stranger, arguments: dict[str, str] | None, wanted: str, named: str
) -> None:
    """The operator hears which argument it is and what can be done about it."""
    outside.channel.queue_declare(TRADE_QUEUE, durable=True, arguments=arguments)
    outside.publish("", TRADE_QUEUE, b"5001", pika.BasicProperties(delivery_mode=2))

    with pytest.raises(Misconfigured) as refused:
        await broker.declare(topology(wanted))

    for part in (TRADE_QUEUE, named, "PAYBELL_QUEUE_TYPE", "policy", "deletes nothing"):
        assert part in str(refused.value)
    outside.channel.queue_declare(TRADE_QUEUE, durable=True, arguments=arguments)
    assert [body for _, body in outside.take(TRADE_QUEUE)] == [b"5001"]


async def test_an_exchange_of_another_type_is_named_and_left_alone(
    broker: RabbitBroker, outside: Stranger
) -> None:
    outside.channel.exchange_declare("pay.direct", "topic", durable=True)

    with pytest.raises(Misconfigured, match=r"pay\.direct.*type.*deletes nothing"):
        await broker.declare(topology())
    outside.channel.exchange_declare("pay.direct", "topic", durable=True)


async def test_the_queue_may_be_a_quorum_queue(
    side: PaySide, broker: RabbitBroker, outside: Stranger
) -> None:
    await pay(side, 5001)
    await relay(side.outbox, broker, declares=topology("quorum")).run_once()
    outside.channel.queue_declare(TRADE_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})

    async with asyncio.timeout(10), broker.consume(TRADE_QUEUE, 10) as consumer:
        (delivery,) = await consumer.receive(10)
        await consumer.acknowledge([delivery])
    assert delivery.body == b"5001"
