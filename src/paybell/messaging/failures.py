"""Failures as rows: what a listener could not apply, waiting for another attempt or dead with its reason.

They stand in the listener's own database, so keeping one and acknowledging its delivery cannot
come apart, and an outage of that database uses up no attempt. Why not TTL queues at the broker:
`docs/decisions/retries-in-the-database.md`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec

from paybell.messaging.arrivals import Arrival, Failure, fingerprint
from paybell.messaging.broker import Delivery
from paybell.storage import Database, Record, Transaction, load_queries
from paybell.storage.operator_actions import note_action

_SQL = load_queries(__package__)
# A reason is for people; a stack of causes has no end.
_ERROR_MAX = 2_000
_TEXT_MAX = 255
REPLAY_MAX = 1_000
# How long a failure that is due belongs to the process that has taken it.
TAKEN_SECONDS = 60.0


async def take_due(database: Database, listener: str, now: datetime, limit: int) -> list[Arrival]:
    """Take failures that are due, so that no other process does for `TAKEN_SECONDS`."""
    async with database.transaction() as tx:
        rows = await tx.fetch(_SQL["take_due_failures"], listener, now, limit, TAKEN_SECONDS)
    return [
        Arrival(_delivery(row), row["id"], row["event_id"], row["attempts"], row["first_failed_at"])
        for row in sorted(rows, key=lambda row: int(row["id"]))
    ]


async def lock(tx: Transaction, row_ids: Sequence[int]) -> set[int]:
    """Lock those rows that still wait and are not in other hands; return their ids."""
    return {row["id"] for row in await tx.fetch(_SQL["lock_failures"], row_ids)} if row_ids else set()


async def forget(tx: Transaction, row_ids: Sequence[int]) -> None:
    """Remove failures that were applied after all."""
    if row_ids:
        await tx.execute(_SQL["forget_failures"], row_ids)


async def keep(tx: Transaction, listener: str, failures: Sequence[Failure]) -> None:
    """Write down failures: anew, or in the row they have."""
    await _insert(tx, listener, [failure for failure in failures if not failure.row_id])
    await _update(tx, [failure for failure in failures if failure.row_id])


async def _insert(tx: Transaction, listener: str, failures: Sequence[Failure]) -> None:
    """One that is known already is only counted."""
    if not failures:
        return
    keys = [(failure.event_id, fingerprint(failure.delivery)) for failure in failures]
    received = Counter(keys)
    by_key = dict(zip(keys, failures, strict=True))
    unique = by_key.values()
    await tx.execute(
        _SQL["keep_failures"],
        listener,
        [failure.event_id for failure in unique],
        [failure.state for failure in unique],
        [failure.reason for failure in unique],
        [_clean(failure.error, _ERROR_MAX) for failure in unique],
        [failure.attempts for failure in unique],
        [_clean(failure.delivery.exchange) for failure in unique],
        [_clean(failure.delivery.routing_key) for failure in unique],
        [_clean(failure.delivery.content_type) for failure in unique],
        [_headers(failure.delivery) for failure in unique],
        tx.now,
        [failure.delivery.body for failure in unique],
        [failure.due_at for failure in unique],
        [received[key] for key in by_key],
        [name for _, name in by_key],
    )


async def _update(tx: Transaction, failures: Sequence[Failure]) -> None:
    if failures:
        await tx.execute(
            _SQL["write_failures"],
            [failure.row_id for failure in failures],
            [failure.state for failure in failures],
            [failure.reason for failure in failures],
            [_clean(failure.error, _ERROR_MAX) for failure in failures],
            [failure.attempts for failure in failures],
            [failure.due_at for failure in failures],
            tx.now,
        )


FailureState = Literal["dead", "retry", "acknowledged"]


@dataclass(frozen=True, slots=True)
class FailedDelivery:
    """A delivery that could not be applied, as people list it; ``due_at``: when it is retried."""

    id: int
    listener: str
    event_id: str
    state: FailureState
    reason: str
    attempts: int
    received: int
    routing_key: str
    first_failed_at: datetime
    last_failed_at: datetime
    due_at: datetime | None


@dataclass(frozen=True, slots=True)
class KeptDelivery(FailedDelivery):
    """The same with its error and all that was received."""

    error: str
    exchange: str
    content_type: str
    headers: dict[str, Any]
    body: bytes
    fingerprint: str
    acknowledged_at: datetime | None


@dataclass(frozen=True, slots=True)
class FailureCount:
    """How many deliveries of one state failed at one listener for one reason, and since when."""

    state: FailureState
    listener: str
    reason: str
    rows: int
    since: datetime


@dataclass(frozen=True, slots=True)
class ReplayOutcome:
    """How many rows of replays were applied, wait for their listener, or have failed again."""

    applied: int
    waiting: int
    failed_again: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which failures: of these row ids, with this reason, of this listener, failed by then; None: any."""

    ids: Sequence[int] | None = None
    reason: str | None = None
    listener: str | None = None
    until: datetime | None = None

    @property
    def text(self) -> str:
        """The same for the record of who did what."""
        parts = {"reason": self.reason, "listener": self.listener}
        words = [f"{name} {value}" for name, value in parts.items() if value is not None]
        return ", ".join(words) or ("all" if self.ids is None else "by number")


class FailureStore:
    """What people do with failures: look at them and replay the dead ones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, chosen: "Chosen", *, state: str | None = "dead", after: int = 0, limit: int = 100
    ) -> Sequence[FailedDelivery]:
        """Return failures without their bodies, oldest first, after a row id."""
        rows = await self._database.fetch(
            _SQL["list_failures"], state, chosen.reason, after, limit, chosen.listener
        )
        return [FailedDelivery(**row) for row in rows]

    async def groups(self) -> Sequence[FailureCount]:
        """Return how many there are of each state, listener and reason; at most 100 of these."""
        return [FailureCount(**row) for row in await self._database.fetch(_SQL["group_failures"])]

    async def find(self, row_id: int) -> KeptDelivery | None:
        """Return one failure with its body and headers."""
        row = await self._database.fetch_one(_SQL["find_failure"], row_id)
        return (
            None if row is None else KeptDelivery(**{**row, "headers": msgspec.json.decode(row["headers"])})
        )

    async def replay(self, chosen: "Chosen", who: str, *, limit: int = REPLAY_MAX) -> int:
        """Make dead letters due now and write down who did; return how many. Call again for the rest.

        Args:
            chosen: which; what died after ``chosen.until`` is left, or a replay might never end.
            who: the operator.
            limit: at most so many, `REPLAY_MAX` at the most.
        """
        return (await self.replay_noted(chosen, who, limit=limit))[0]

    async def replay_noted(
        self, chosen: "Chosen", who: str, *, limit: int = REPLAY_MAX
    ) -> tuple[int, int | None]:
        """As `replay`; return also the id of the action that notes it, None where there was nothing."""
        return await self._act("replay", chosen, who, limit)

    async def outcome(self, actions: Sequence[int]) -> ReplayOutcome:
        """Return what came of replays, by the ids of the actions that note them."""
        row = await self._database.fetch_one(_SQL["outcome_of_replays"], actions)
        assert row is not None
        return ReplayOutcome(**row)

    async def acknowledge(self, chosen: "Chosen", who: str, *, limit: int = REPLAY_MAX) -> int:
        """Give dead letters up: they count no more, and are removed after a time. As `replay`."""
        return (await self._act("acknowledge", chosen, who, limit))[0]

    async def _act(
        self, action: Literal["replay", "acknowledge"], chosen: "Chosen", who: str, limit: int
    ) -> tuple[int, int | None]:
        async with self._database.transaction() as tx:
            rows = await tx.fetch(
                _SQL[f"{action}_failures"],
                None if chosen.ids is None else list(chosen.ids),
                chosen.reason,
                min(limit, REPLAY_MAX),
                tx.now,
                chosen.listener,
                chosen.until,
            )
            noted = None
            if rows:
                noted = await note_action(tx, who, action, chosen.text, [row["id"] for row in rows])
            return len(rows), noted

    async def counts(self) -> dict[str, int]:
        """Return the number of failures by state (``retry``, ``dead``), each at most 100,000."""
        rows = await self._database.fetch(_SQL["count_failures"])
        return {row["state"]: row["rows"] for row in rows}


def _delivery(row: Record) -> Delivery:
    headers: dict[str, object] = msgspec.json.decode(row["headers"])
    return Delivery(
        0, row["exchange"], row["routing_key"], row["body"], row["content_type"], row["event_id"], headers
    )


def is_event_id(text: str) -> bool:
    """Say whether the inbox can hold this: 1 to 255 characters that PostgreSQL knows."""
    return bool(text) and _clean(text) == text


def _headers(delivery: Delivery) -> str:
    clean = {_clean(str(name)): _jsonable(value) for name, value in delivery.headers.items()}
    return msgspec.json.encode(clean).decode()


def _jsonable(value: object) -> object:
    if value is None or isinstance(value, bool):
        return value
    # The client hands 64-bit integers over as a class of its own, which the encoder does not know.
    return int(value) if isinstance(value, int) else _clean(str(value), _ERROR_MAX)


def _clean(text: str, limit: int = _TEXT_MAX) -> str:
    """Make a stranger's text fit for PostgreSQL, which knows no NUL and no lone surrogate."""
    return text[:limit].replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
