"""How what pay has to say is published: the relay's lanes, what was refused, and where the outbox begins."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from paybell.messaging.events import relay_topology
from paybell.messaging.handover import Handover
from paybell.messaging.outbox import EVENTS_DUE, Outbox
from paybell.messaging.outbox_floor import FLOOR_DUE, FLOOR_REST_SECONDS, OutboxFloor
from paybell.messaging.publishing import Publishing
from paybell.messaging.refused import ROUTES_DUE, RefusedEvents
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
    publishing, wire = _publishing(host), _wire(host)
    retrier = Retrier(
        refused,
        publishing,
        wire,
        clock=host.clock,
        batch_max=settings.relay_batch_max,
        lease_seconds=settings.relay_lease_seconds,
    )
    relay = _relay(host, outbox, refused, publishing)
    due, floor = await host.due("pay"), OutboxFloor(database)
    parts.loops += [
        *_lanes(outbox, "relay", relay.run_once, settings.relay_batch_max, partial(due.loop, due=EVENTS_DUE)),
        due.loop("refused-events", retrier.run_once, ROUTES_DUE),
        due.loop("outbox-floor", floor.run_once, FLOOR_DUE, full=2, rest_seconds=FLOOR_REST_SECONDS),
    ]


def add_own_publisher(host: Host, parts: Parts, database: Database, outbox: Outbox) -> None:
    """Add the loops that publish what this process writes, where no relay runs in it."""
    relay = _relay(host, outbox, RefusedEvents(database), _publishing(host))
    parts.loops += _lanes(outbox, "publisher", relay.publish_own, host.settings.relay_batch_max)


def _relay(host: Host, outbox: Outbox, refused: RefusedEvents, publishing: Publishing) -> Relay:
    handover = Handover(host.clock)
    outbox.hand_to(handover)
    return Relay(
        outbox,
        refused,
        publishing,
        _wire(host),
        host.observer,
        handover=handover,
        clock=host.clock,
        batch_max=host.settings.relay_batch_max,
        lease_seconds=host.settings.relay_lease_seconds,
    )


def _wire(host: Host) -> Wire:
    return Wire(host.event_keys, host.settings.legacy_content_type)


def _publishing(host: Host) -> Publishing:
    settings = host.settings
    return Publishing(
        host.broker,
        relay_topology(settings.queue_type, settings.article_queue),
        host.observer,
        host.clock,
        settings.publish_deadline_seconds,
    )


def _lanes(
    outbox: Outbox,
    name: str,
    step: Callable[[], Awaitable[int]],
    batch_max: int,
    loop: Callable[..., Loop] = Loop,
) -> list[Loop]:
    lanes = []
    for lane in range(RELAY_LANES):
        wake = asyncio.Event()
        outbox.on_append(wake.set)
        lanes.append(
            loop(f"{name}-{lane}", step, wake=wake, full=batch_max, rest_seconds=_RELAY_REST_SECONDS)
        )
    return lanes
