"""What metrics show of the tables of messaging."""

from collections.abc import Sequence

from paybell.messaging.failures import FailureStore
from paybell.messaging.outbox import Outbox
from paybell.messaging.refused import RefusedEvents
from paybell.storage import Database
from paybell.telemetry.metrics import Measured


async def measure_outbox(database: Database) -> Sequence[Measured]:
    """Return what waits to be published, and what the broker refuses."""
    pending, oldest_age_seconds = await Outbox(database).state()
    routes = await RefusedEvents(database).routes()
    return [
        Measured("outbox_pending", pending),
        Measured("outbox_oldest_age_seconds", oldest_age_seconds),
        *(Measured("refused_events", one.events, (one.exchange, one.routing_key)) for one in routes),
    ]


async def measure_failures(database: Database) -> Sequence[Measured]:
    """Return the deliveries that could not be applied, by state."""
    counts = await FailureStore(database).counts()
    return [Measured("failed_deliveries", count, (state,)) for state, count in counts.items()]
