"""How the order service listens: to the bare number of a paid order, and to typed events of pay orders."""

from typing import Any

from paybell.errors import PaybellError
from paybell.messaging.events import topology, trade_topology
from paybell.messaging.failure_rows import FAILURES_DUE
from paybell.messaging.listener import Listener
from paybell.messaging.listener_runner import ListenerRunner
from paybell.parts import Host, Parts
from paybell.trade.event_listener import EventProof, pay_order_listener
from paybell.trade.pay_client import PayClient
from paybell.trade.payment_listener import PaymentProof, payment_listener
from paybell.trade.presence import BEAT_SECONDS, ForeignConsumers, Presence
from paybell.trade.watch import OrderWatch
from paybell.worker import Loop, Task


async def add_listeners(host: Host, parts: Parts, pay: PayClient, watch: OrderWatch) -> None:
    """Add the order service's listeners with their retries and their check."""
    settings, database, due = host.settings, await host.database("trade"), await host.due("trade")
    (binding,) = topology(settings.queue_type).bindings
    proof = PaymentProof(database, settings.merchant_id, host.event_keys, pay)
    listeners: dict[str, Listener[Any]] = {"listener": payment_listener(binding, proof, watch.changed)}
    event_proof = EventProof(settings.merchant_id, host.event_keys, pay)
    for binding in trade_topology(settings.queue_type).bindings:
        listeners[f"listener-{binding.key}"] = pay_order_listener(binding, event_proof, watch.changed)
    runners = {
        name: ListenerRunner(
            listener,
            host.broker,
            database,
            host.clock,
            host.observer,
            batch_max=settings.listener_batch_max,
        )
        for name, listener in listeners.items()
    }
    parts.tasks += [Task(name, runner.run) for name, runner in runners.items()]
    parts.loops += [
        due.loop(f"{name}-retries", runner.retry_once, FAILURES_DUE, runner.name)
        for name, runner in runners.items()
    ]
    queues = [runner.queue for runner in runners.values()]
    parts.tasks.append(Task("presence", Presence(database, queues).run))
    others = ForeignConsumers(database, host.broker, queues)
    parts.loops.append(Loop("foreign-consumers", others.look, idle_seconds=BEAT_SECONDS))

    async def check() -> None:
        for runner in runners.values():
            if not runner.consuming:
                raise PaybellError(f"The listener of {runner.queue} is not consuming.")

    parts.checks["listener"] = check
