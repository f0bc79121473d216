"""What pay adds to a process: pay orders and refunds over HTTP; the relay, deadlines and retention behind."""

import asyncio

from paybell.messaging.events import relay_topology
from paybell.messaging.outbox import Outbox
from paybell.messaging.outbox_floor import FLOOR_IDLE_SECONDS, OutboxFloor
from paybell.messaging.publishing import Publishing
from paybell.messaging.refused import RefusedEvents
from paybell.messaging.relay import Relay, Retrier
from paybell.messaging.wire import Wire
from paybell.parts import Host, Parts
from paybell.pay.lane_routes import PayLane
from paybell.pay.list_routes import list_routes
from paybell.pay.overdue import OverdueCloser
from paybell.pay.problems import PROBLEMS
from paybell.pay.refund_routes import refund_routes
from paybell.pay.refunds import RefundService
from paybell.pay.routes import pay_order_routes
from paybell.pay.service import PayService
from paybell.pay.settings import PaySettings
from paybell.pay.tables import retention_rules
from paybell.storage.retention import CLEAN_IDLE_SECONDS, Cleaner
from paybell.wallet.pay_password import Pepper
from paybell.worker import Loop

# One batch is confirmed by the broker while the other is claimed from the database.
RELAY_LANES = 2
# A payment has no events of its own to wait for: those of some milliseconds share a batch.
_RELAY_REST_SECONDS = 0.005
# Buyers see an order close; what falls due together is worked off in batches without a pause.
_CLOSER_IDLE_SECONDS = 0.5


async def pay_parts(host: Host) -> Parts:
    """Return them for the roles of this process."""
    parts = Parts(problems=PROBLEMS)
    if "api" in host.roles:
        await _add_api(host, parts)
    if "background" in host.roles:
        await _add_background(host, parts)
    return parts


async def _add_api(host: Host, parts: Parts) -> None:
    settings = host.settings_of(PaySettings)
    database, outbox = await host.database("pay"), await host.outbox()
    ids = await host.ids("pay")
    pay = PayService(
        database,
        outbox,
        Pepper(settings.pin_pepper),
        ids,
        host.observer,
        batch_max=settings.settle_batch_max,
    )
    refunds = RefundService(database, outbox, ids)
    parts.services += [pay, refunds]
    parts.routers += [
        pay_order_routes(pay, settings.order_ttl_seconds),
        refund_routes(refunds),
        *list_routes(pay, database, host.clock),
    ]
    parts.shortcuts.append(lambda app: PayLane(app, pay, host.tokens))


async def _add_background(host: Host, parts: Parts) -> None:
    settings = host.settings_of(PaySettings)
    database, outbox = await host.database("pay"), await host.outbox()
    await host.declare(relay_topology(settings.queue_type, settings.article_queue))
    refused = RefusedEvents(database)
    parts.loops += _relay_lanes(host, outbox, refused)
    parts.loops.append(Loop("outbox-floor", OutboxFloor(database).run_once, idle_seconds=FLOOR_IDLE_SECONDS))
    closer = OverdueCloser(database, outbox)
    rules = retention_rules(idempotency_days=settings.idempotency_days, inbox_days=settings.inbox_days)
    parts.loops += [
        Loop("overdue-closer", closer.run_once, idle_seconds=_CLOSER_IDLE_SECONDS),
        Loop("pay-cleaner", Cleaner(database, rules).run_once, idle_seconds=CLEAN_IDLE_SECONDS),
    ]
    parts.checks["broker"] = host.check_broker


def _relay_lanes(host: Host, outbox: Outbox, refused: RefusedEvents) -> list[Loop]:
    settings = host.settings
    wire = Wire(host.event_keys, settings.legacy_content_type)
    publishing = Publishing(
        host.broker,
        relay_topology(settings.queue_type, settings.article_queue),
        host.observer,
        host.clock,
        settings.publish_deadline_seconds,
    )
    batch_max, lease_seconds = settings.relay_batch_max, settings.relay_lease_seconds
    relay = Relay(
        outbox,
        refused,
        publishing,
        wire,
        host.observer,
        clock=host.clock,
        batch_max=batch_max,
        lease_seconds=lease_seconds,
    )
    retrier = Retrier(
        refused, publishing, wire, clock=host.clock, batch_max=batch_max, lease_seconds=lease_seconds
    )
    lanes = [Loop("refused-events", retrier.run_once)]
    for lane in range(RELAY_LANES):
        wake = asyncio.Event()
        outbox.on_append(wake.set)
        lanes.append(
            Loop(f"relay-{lane}", relay.run_once, wake, full=batch_max, rest_seconds=_RELAY_REST_SECONDS)
        )
    return lanes
