"""What people do with failed deliveries (`failure_rows`): look at them, redeliver dead ones, give them up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec

from paybell.storage import Database, load_queries
from paybell.storage.operator_actions import note_action

_SQL = load_queries(__package__)
REPLAY_MAX = 1_000


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

    async def count(self, chosen: "Chosen", *, state: str) -> int:
        """Return how many failures of a state `list` would come to; up to 100,000 are counted."""
        row = await self._database.fetch_one(_SQL["count_chosen"], state, chosen.reason, chosen.listener)
        assert row is not None
        return int(row["rows"])

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
