"""The broker: reached, with the needed topology, consumed by ours alone, and taking messages."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from paybell.clock import Clock
from paybell.diagnosis.findings import Finding, of_error
from paybell.errors import BrokerUnavailable, Misconfigured, PaybellError
from paybell.messaging.broker import Confirm, Denied, Message
from paybell.messaging.broker_url import unencrypted_places
from paybell.messaging.events import PAY_EVENTS, TRADE_QUEUE, topology, trade_topology
from paybell.messaging.rabbitmq.broker import RabbitBroker
from paybell.serving.databases import databases
from paybell.settings import Settings
from paybell.storage import Database
from paybell.trade.presence import LOOKS, ForeignConsumers, processes

_CONFIRM_SECONDS = 3.0
# Between looks at who consumes.
_LOOK_SECONDS = 0.3
# From this version on quorum queues have a delivery limit of 20 where no policy sets one.
_LIMITING_VERSION = 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def examine_broker(settings: Settings, roles: frozenset[str], clock: Clock) -> AsyncIterator[Finding]:
    """Look at RabbitMQ: reached, topology, who consumes, and that it takes messages."""
    if settings.broker_url.startswith("local:"):
        yield Finding("broker", "ok", "local, inside the process")
        return
    for place in unencrypted_places(settings.broker_url):
        yield Finding(
            "broker",
            "warning",
            f"{place} is sent the password and every message unencrypted",
            "Use amqps:// (RabbitMQ's port 5671), unless the network between is encrypted.",
        )
    try:
        async with _connected(settings) as broker:
            await broker.declare(topology(settings.queue_type))
            if "trade" in roles:  # without it nobody takes anything out of these
                await broker.declare(trade_topology(settings.queue_type))
            yield Finding("topology", "ok", "exchanges and queues are as they must be")
            with suppress(PaybellError):  # whatever it is, it has been said, or will be
                yield await (_listeners(settings, broker, clock) if "trade" in roles else _others(broker))
            for finding in delivery_limit(await broker.server_version(), settings.queue_type):
                yield finding
            yield await _publishing(broker)
    except Misconfigured as error:
        part = "topology" if "refuses the" in str(error) else "broker"
        yield of_error(part, error)
    except BrokerUnavailable as error:
        yield of_error("broker", error)


async def _listeners(settings: Settings, broker: RabbitBroker, clock: Clock) -> Finding:
    """Compare who consumes trade's queues with who should."""
    names = [binding.queue.name for one in (topology(), trade_topology()) for binding in one.bindings]
    with databases(settings, ["trade"]) as urls:
        async with Database.open(urls["trade"], clock, connections=1, wait_seconds=2) as database:
            foreign = ForeignConsumers(database, broker, names)
            for _ in range(LOOKS):
                found = await foreign.find({name: await broker.look_at(name) for name in names})
                await clock.sleep(_LOOK_SECONDS)
            ours = await processes(database)
    others = {queue: count for queue, count in found.items() if count}
    if others:
        what = ", ".join(f"{count} of {queue}" for queue, count in others.items())
        return Finding(
            "listeners",
            "error",
            f"consumers that are not Paybell's take messages that trade would apply: {what}",
            "With an order service of your own do not run the role trade (docs/how-to/take-over.md); with "
            "another installation use a virtual host for each.",
        )
    if ours:
        return Finding("listeners", "ok", f"{max(ours.values())} processes of the role trade, nobody else")
    return await _others(broker)


async def _others(broker: RabbitBroker) -> Finding:
    """Say who consumes where no process of ours should."""
    state = await broker.look_at(TRADE_QUEUE)
    consumers = state.consumers if state else 0
    return Finding("listeners", "ok", f"{consumers} consumers of {TRADE_QUEUE}, none of the role trade")


def delivery_limit(version: str, queue_type: str) -> Iterator[Finding]:
    """Say what quorum queues do by themselves from RabbitMQ 4 on; a policy against it cannot be seen."""
    major = version.partition(".")[0]
    if queue_type == "quorum" and major.isdecimal() and int(major) >= _LIMITING_VERSION:
        yield Finding(
            "delivery limit",
            "warning",
            f"RabbitMQ {version} drops a message of a quorum queue that came back 20 times, unless a policy "
            "says otherwise",
            "Set one, of which doctor cannot know: rabbitmqctl set_policy paybell '^trade\\.' "
            "'{\"delivery-limit\": -1}' --apply-to queues.",
        )


async def _publishing(broker: RabbitBroker) -> Finding:
    """Publish what no queue takes, twice: RabbitMQ says that it takes nothing after the first."""
    key = "paybell.doctor"
    probe = Message(PAY_EVENTS.name, key, b"", key, "text/plain", key, _EPOCH, must_route=False)
    confirms = [*await broker.publish([probe], _CONFIRM_SECONDS)]
    confirms += await broker.publish([probe], _CONFIRM_SECONDS)
    if set(confirms) == {Confirm.CONFIRMED}:
        return Finding("broker", "ok", "answers, and takes messages")
    denied = next((one for one in confirms if isinstance(one, Denied)), None)
    if denied is not None:
        return Finding(
            "broker",
            "error",
            f"RabbitMQ does not let us publish to {PAY_EVENTS.name}: {denied.code} {denied.text}",
            "Give the user of PAYBELL_BROKER_URL the right to write (rabbitmqctl set_permissions, "
            "set_topic_permissions); events wait meanwhile.",
        )
    return Finding(
        "broker",
        "error",
        "RabbitMQ takes no messages: an alarm for memory or disk",
        "See rabbitmq-diagnostics alarms; events wait in the outbox meanwhile.",
    )


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[RabbitBroker]:
    broker = RabbitBroker(settings.broker_url, only_looks=settings.broker_declare == "look")
    try:
        yield broker
    finally:
        await broker.close()
