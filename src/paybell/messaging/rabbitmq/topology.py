"""Declaring a topology at RabbitMQ, and what an operator can do when it is refused."""

from collections.abc import Awaitable, Callable

from paybell.errors import BrokerUnavailable, Misconfigured
from paybell.messaging.broker import Binding, Exchange, Topology
from paybell.messaging.rabbitmq.channel import ACCESS_REFUSED, NOT_FOUND, Channel, ChannelRefused
from paybell.messaging.rabbitmq.link import Link

# What an operator has to change (AMQP 0-9-1, 1.7: access-refused, resource-locked, precondition-failed);
# everything else passes, such as the home node of a queue that is down.
_REFUSALS = {ACCESS_REFUSED, 405, 406}
_NOT_ALLOWED = (
    "give the user of PAYBELL_BROKER_URL the right (rabbitmqctl set_permissions), or set "
    "PAYBELL_BROKER_DECLARE=look and have somebody declare and bind it who may"
)


async def declare(link: Link, topology: Topology) -> None:
    """Make what is missing; see `paybell.messaging.broker.Broker.declare`."""
    for exchange in topology.exchanges:
        await _declare_exchange(link, exchange)
    for binding in topology.bindings:
        await _declare_binding(link, binding)


async def look_for(link: Link, topology: Topology) -> None:
    """Make sure that all of it is there, with whatever arguments; bindings cannot be looked at.

    Raises:
        BrokerUnavailable: no connection.
        Misconfigured: something is not there.
    """
    for exchange in topology.exchanges:
        await _look_for(link, f"exchange {exchange.name}", Channel.look_for_exchange, exchange.name)
    for binding in topology.bindings:
        await _look_for(link, f"queue {binding.queue.name}", Channel.look_at, binding.queue.name)


async def _look_for(
    link: Link, what: str, look: Callable[[Channel, str], Awaitable[object]], name: str
) -> None:
    channel = await Channel.open(link)
    try:
        await look(channel, name)
    except ChannelRefused as refusal:
        if refusal.code != NOT_FOUND:
            raise BrokerUnavailable(f"RabbitMQ does not say how the {what} stands: {refusal}") from refusal
        raise Misconfigured(
            f"There is no {what} at RabbitMQ, and PAYBELL_BROKER_DECLARE=look declares nothing. Declare and "
            "bind it, or set PAYBELL_BROKER_DECLARE=declare."
        ) from refusal
    channel.close()


async def _declare_exchange(link: Link, exchange: Exchange) -> None:
    async def make(channel: Channel) -> None:
        await channel.declare_exchange(exchange.name, exchange.type)

    await _on_a_channel(
        link, f"exchange {exchange.name}", make, "delete it yourself and bind its queues anew"
    )


async def _declare_binding(link: Link, binding: Binding) -> None:
    queue, exchange = binding.queue, binding.exchange

    async def make(channel: Channel) -> None:
        # Said also of a classic queue, which RabbitMQ holds equal to a queue declared without: the default
        # of the virtual host may be another type.
        await channel.declare_queue(queue.name, {"x-queue-type": queue.type})
        await channel.bind(queue.name, exchange.name, binding.key)

    remedy = (
        "set PAYBELL_QUEUE_TYPE to its type, put other arguments into a policy (rabbitmqctl set_policy), set "
        "PAYBELL_BROKER_DECLARE=look to use it as it is, or delete it yourself once it is empty"
    )
    await _on_a_channel(link, f"queue {queue.name} bound to {exchange.name}", make, remedy)


async def _on_a_channel(
    link: Link, what: str, make: Callable[[Channel], Awaitable[None]], remedy: str
) -> None:
    """Declare on a channel of its own, because RabbitMQ closes the channel of a refused one."""
    channel = await Channel.open(link)
    try:
        await make(channel)
    except ChannelRefused as refusal:
        if refusal.code not in _REFUSALS:
            raise BrokerUnavailable(f"RabbitMQ cannot declare the {what} now: {refusal}") from refusal
        said = f"RabbitMQ refuses the {what}: {refusal}"
        if refusal.code == ACCESS_REFUSED:
            raise Misconfigured(f"{said}; {_NOT_ALLOWED}.") from refusal
        raise Misconfigured(
            f"{said}; if it exists with other properties, {remedy}. Paybell deletes nothing."
        ) from refusal
    channel.close()
