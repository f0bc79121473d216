"""The outbox: events wait here, written in the transaction of the change they announce.

Rows leave only through `finish`, with the token of the lease they were claimed under. There is
no terminal state: a broker that is away uses up nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

import msgspec

from paybell.messaging.events import OutboxEvent, PayOrderEvent
from paybell.messaging.handover import WRITER_LEASE_SECONDS, Handover
from paybell.storage import Database, Query, Record, Transaction, load_queries

_SQL = load_queries(__package__)
# Whether there is an event that nobody holds.
EVENTS_DUE = _SQL["events_due"]
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Publication:
    """One publishing of a batch: its short name, which is in the ids of its messages, and when it was."""

    attempt: str
    published_at: datetime
    confirmed_at: datetime


def attempt_of(token: UUID) -> str:
    """Return the short name of what is published under a fresh token."""
    return token.hex[:12]


class Outbox:
    """The sending side's table of events that are not published yet."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._wakes: list[Callable[[], object]] = []
        self._handover: Handover | None = None

    def hand_to(self, handover: Handover) -> None:
        """Hand what is appended from now on to a relay of this process, as long as that one publishes."""
        self._handover = handover

    def on_append(self, wake: Callable[[], object]) -> None:
        """Call this after each commit that appended events; a relay in this process need not poll."""
        self._wakes.append(wake)

    async def append(
        self,
        tx: Transaction,
        events: Sequence[PayOrderEvent],
        query: Query = _SQL["append_events"],
        *arguments: object,
    ) -> Sequence[Record]:
        """Write events in the caller's transaction; return the rows of the statement that has done so.

        Args:
            tx: of the caller.
            events: without any nothing is done.
            query: a statement that includes ``append_events``, does more, and returns its rows with others.
            arguments: of that statement, after those of ``append_events``.
        """
        if not events:
            return []
        bodies = [_ENCODER.encode(event) for event in events]
        lease = self._handover.lease() if self._handover else None
        rows = await tx.fetch(
            query,
            [event.id for event in events],
            [event.type for event in events],
            [event.subject for event in events],
            bodies,
            [event.traceparent for event in events],
            tx.now,
            lease[0] if lease else None,
            WRITER_LEASE_SECONDS,
            *arguments,
        )
        if lease and self._handover:
            ids = {row["event_id"]: row["id"] for row in rows}
            handed = [
                OutboxEvent(ids[one.id], one.id, one.type, one.subject, body, tx.now, one.traceparent)
                for one, body in zip(events, bodies, strict=True)
            ]
            tx.after_commit(partial(self._handover.put, handed, lease[1]))
        for wake in self._wakes:
            tx.after_commit(wake)
        return rows

    async def claim(self, token: UUID, lease_seconds: float, limit: int) -> list[OutboxEvent]:
        """Take up to ``limit`` of the oldest events nobody holds, oldest first."""
        rows = await self._database.fetch(_SQL["claim_events"], token, lease_seconds, limit)
        return sorted((OutboxEvent(*row.values()) for row in rows), key=lambda event: event.id)

    async def finish(self, ids: Sequence[int], token: UUID, publication: Publication) -> int:
        """Remove events that are published and confirmed; return how many were still ours."""
        if not ids:
            return 0
        row = await self._database.fetch_one(
            _SQL["finish_events"],
            ids,
            token,
            publication.attempt,
            publication.published_at,
            publication.confirmed_at,
            len(ids),
        )
        assert row is not None
        return int(row["removed"])

    async def release(self, ids: Sequence[int], token: UUID, wait_seconds: float) -> None:
        """Give events back, to be tried again after a wait."""
        if ids:
            await self._database.fetch(_SQL["release_events"], ids, token, wait_seconds)

    async def state(self) -> tuple[int, float]:
        """Return how many events wait (at most 100,000) and the age of the oldest in seconds."""
        row = await self._database.fetch_one(_SQL["outbox_state"])
        assert row is not None
        return row["pending"], max(0.0, row["oldest_age_seconds"])
