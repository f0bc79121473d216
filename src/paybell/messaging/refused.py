"""Events of which the broker refuses a message: kept beside the outbox, with the route and the reason.

The wait belongs to the route (exchange and routing key) and not to the event: with a thousand events behind
one full queue a single one is published as a trial, so that queues which do take it get it seldom twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from paybell.messaging.broker import Route
from paybell.messaging.events import OutboxEvent
from paybell.messaging.outbox import Publication
from paybell.messaging.publishing import Aside, Outcome, Refusal
from paybell.storage import Database, Transaction, load_queries

_SQL = load_queries(__package__)
# Whether a route is to be tried again.
ROUTES_DUE = _SQL["routes_due"]
FIRST_WAIT_SECONDS = 1.0
# A trial that is refused by one queue is one more copy in every other queue that is bound there.
COPYING_WAIT_MOST_SECONDS = 300.0
# Others cost a channel, or nothing.
WAIT_MOST_SECONDS = 10.0
# So long a route is remembered when its last event is gone: one that refuses now and then is named once.
QUIET_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class DueRoute:
    """A route that is tried again now, with at most so many events; ``refusals`` in a row came before."""

    route: Route
    refusals: int
    limit: int


@dataclass(frozen=True, slots=True)
class RefusedEvent:
    """An event that was set aside, and the exchanges that have confirmed their message of it."""

    event: OutboxEvent
    confirmed: Sequence[str]


@dataclass(frozen=True, slots=True)
class RefusedRoute:
    """How many events wait for a route to take messages again (counted up to 100,000), and since when."""

    exchange: str
    routing_key: str
    reason: str
    detail: str
    since: datetime
    events: int


def wait_seconds(reason: str, refusals: int) -> float:
    """Return the wait after this many refusals in a row."""
    limit = COPYING_WAIT_MOST_SECONDS if reason == "refused" else WAIT_MOST_SECONDS
    return min(limit, FIRST_WAIT_SECONDS * 2.0 ** min(refusals - 1, 16))


class RefusedEvents:
    """The tables of what was set aside."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def routes(self) -> list[RefusedRoute]:
        """Return the routes that refuse, those that have waited longest first."""
        return [RefusedRoute(*row.values()) for row in await self._database.fetch(_SQL["refused_routes"])]

    async def set_aside(
        self,
        refusal: Refusal,
        asides: Sequence[Aside],
        token: UUID,
        publication: Publication,
    ) -> bool:
        """Take events of one refusal out of the outbox; return whether the route was not known to refuse.

        Events whose lease is no longer ours stay where they are.
        """
        row = await self._database.fetch_one(
            _SQL["set_events_aside"],
            [one.id for one in asides],
            token,
            *refusal.route,
            refusal.reason,
            refusal.detail,
            FIRST_WAIT_SECONDS,
            [",".join(one.confirmed) for one in asides],
            publication.attempt,
            publication.published_at,
            publication.confirmed_at,
        )
        assert row is not None
        return bool(row["new"])

    async def take_due_route(self, token: UUID, lease_seconds: float) -> DueRoute | None:
        """Take the route that has been due for longest; it is due again when the lease ends."""
        row = await self._database.fetch_one(_SQL["take_due_route"], token, lease_seconds)
        return DueRoute((row["exchange"], row["routing_key"]), row["refusals"], row["most"]) if row else None

    async def events(self, route: Route, limit: int) -> list[RefusedEvent]:
        """Return events of a route, those that were tried longest ago first."""
        rows = await self._database.fetch(_SQL["refused_events"], *route, limit)
        return [RefusedEvent(OutboxEvent(*row[:7]), row["confirmed"]) for row in rows]

    async def record(
        self,
        due: DueRoute,
        outcome: Outcome,
        token: UUID,
        publication: Publication,
    ) -> Sequence[Refusal]:
        """Remove what is published, and say when the route is tried again.

        Returns:
            Refusals of routes that were not known to refuse.
        """
        async with self._database.transaction() as tx:
            if not await tx.fetch(_SQL["lock_route"], *due.route, token):
                return []  # another one tries it meanwhile; what was published comes twice
            if outcome.done:
                times = (publication.attempt, publication.published_at, publication.confirmed_at)
                await tx.execute(_SQL["finish_refused"], list(outcome.done), *times, len(outcome.done))
            new = await self._keep(tx, due.route, outcome.refused)
            await self._plan(tx, due, outcome)
        return new

    async def _keep(self, tx: Transaction, route: Route, refused: Sequence[Aside]) -> list[Refusal]:
        """Note further refusals; an event may now wait for the other of its routes."""
        elsewhere = {one.refusal.route: one.refusal for one in refused if one.refusal.route != route}
        new = []
        for refusal in elsewhere.values():
            values = (*refusal.route, refusal.reason, refusal.detail, FIRST_WAIT_SECONDS)
            if (await tx.fetch(_SQL["note_route"], *values))[0]["new"]:
                new.append(refusal)
        if refused:
            await tx.execute(
                _SQL["keep_refused"],
                [one.id for one in refused],
                [one.refusal.route[0] for one in refused],
                [one.refusal.route[1] for one in refused],
                [",".join(one.confirmed) for one in refused],
            )
        return new

    async def _plan(self, tx: Transaction, due: DueRoute, outcome: Outcome) -> None:
        here = next((one.refusal for one in outcome.refused if one.refusal.route == due.route), None)
        if here is not None:
            wait = wait_seconds(here.reason, due.refusals + 1)
            plan = (due.refusals + 1, 1, wait, here.reason, here.detail)
            await tx.execute(_SQL["plan_refusing_route"], *due.route, *plan)
        elif outcome.unknown:
            await tx.execute(_SQL["plan_route"], *due.route, due.refusals, due.limit, FIRST_WAIT_SECONDS)
        elif (await tx.fetch(_SQL["waits_for_route"], *due.route))[0]["waits"]:
            await tx.execute(_SQL["plan_route"], *due.route, due.refusals, 2 * due.limit, 0.0)
        elif due.refusals:
            await tx.execute(_SQL["plan_route"], *due.route, 0, 1, QUIET_SECONDS)
        else:
            await tx.execute(_SQL["forget_route"], *due.route)
