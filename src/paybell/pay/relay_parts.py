"""How what pay has to say is published: the relay's lanes, what was refused, and where the outbox begins."""

import asyncio

from paybell.messaging.events import relay_topology
from paybell.messaging.handover import Handover
from paybell.messaging.outbox import Outbox
from paybell.messaging.outbox_floor import FLOOR_IDLE_SECONDS, OutboxFloor
from paybell.messaging.publishing import Publishing
from paybell.messaging.refused import RefusedEvents
from paybell.messaging.relay import Relay, Retrier
from paybell.messaging.wire import Wire
from paybell.parts import Host, Parts
from paybell.storage import Database
from paybell.worker import Loop

# One batch is confirmed by the broker while the other is claimed from the database.
RELAY_LANES = 2
# A payment has no events of its own to wait for: those of some milliseconds share a batch.
_RELAY_REST_SECONDS = 0.005


async def add_relay(host: Host, parts: Parts, database: Database, outbox: Outbox) -> None:
    """Declare the exchanges, and add the loops that publish from this database's outbox."""
    settings = host.settings
    await host.declare(relay_topology(settings.queue_type, settings.article_queue))
    refused = RefusedEvents(database)
    parts.loops += _lanes(host, outbox, refused)
    parts.loops.append(Loop("outbox-floor", OutboxFloor(database).run_once, idle_seconds=FLOOR_IDLE_SECONDS))


def _lanes(host: Host, outbox: Outbox, refused: RefusedEvents) -> list[Loop]:
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
    handover = Handover(host.clock)
    outbox.hand_to(handover)
    relay = Relay(
        outbox,
        refused,
        publishing,
        wire,
        host.observer,
        handover=handover,
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
