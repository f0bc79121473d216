"""``paybell tell``: past events for a queue that was bound later."""

from paybell.cli.options import Flag
from paybell.cli.output import going_on, out, print_json
from paybell.cli.reconcile import moment
from paybell.clock import SystemClock
from paybell.errors import InvalidRequest
from paybell.messaging.rabbitmq.broker import RabbitBroker
from paybell.messaging.signatures import EventKeys
from paybell.messaging.wire import Wire
from paybell.reconciliation.past_events import PastEvents
from paybell.serving.databases import prepared
from paybell.settings import read_settings
from paybell.settings.secrets import with_secrets
from paybell.storage import READING, Database


async def tell(
    *,
    since: str,
    queue: str,
    until: str | None = None,
    json: Flag = False,
) -> None:
    """Publish past events to one queue: of each pay order that was paid, closed or refunded, the newest.

    They go to this queue alone, signed, with the ids they always had, so a listener that remembers ids takes
    each once. Bind the queue to pay.events first, so that nothing is missing between.

    Args:
        since: a day, or a time such as 2026-01-31T12:00:00Z.
        queue: its name; it must exist.
        until: where the period ends, not included; without it now.
        json: end with one JSON line.
    """
    clock, settings = SystemClock(), with_secrets(read_settings())
    if settings.broker_url.startswith("local:"):
        raise InvalidRequest("The local broker has no queues of others; set PAYBELL_BROKER_URL.")
    start = moment("--since", since)
    end = clock.now() if until is None else moment("--until", until)
    wire = Wire(EventKeys.from_settings(settings), settings.legacy_content_type)
    broker, told = RabbitBroker(settings.broker_url), 0
    try:
        async with (
            prepared(settings, clock, ["pay"]) as urls,
            Database.open(urls["pay"], clock, connections=2, limits=READING) as database,
        ):
            with going_on("Reading pay orders …") as say:
                async for told in PastEvents(database, broker, wire, clock).publish(queue, start, end):
                    say(f"{told:,} events published …")
    finally:
        await broker.close()
    if json:
        print_json({"published": told, "queue": queue})
    else:
        out.print(f"{told:,} events published to {queue}.")
