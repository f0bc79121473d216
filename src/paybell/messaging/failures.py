"""Deliveries a listener could not apply: waiting for another try, or dead with their reason.

They are rows in the listener's own database, so keeping one and settling its delivery cannot
come apart, and an outage of that database uses up no attempt. Why not TTL queues at the broker:
`docs/decisions/retries-in-the-database.md`.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from paybell.backoff import listener_retry
from paybell.messaging.broker import Delivery
from paybell.storage import Database, Record, Transaction, load_queries
from paybell.tracecontext import trace_id_of

_SQL = load_queries(__package__)
# A reason is for people; a stack of causes has no end.
_ERROR_MAX = 2_000
_TEXT_MAX = 255
REPLAY_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a delivery was not applied, and when to try again (None: it is dead)."""

    event_id: str
    delivery: Delivery
    reason: str
    error: str
    attempts: int
    due_at: datetime | None

    @property
    def state(self) -> Literal["retry", "dead"]:
        """Waiting for another try, or waiting for a person."""
        return "dead" if self.due_at is None else "retry"

    def summary(self) -> dict[str, object]:
        """Return what a log may say of it: nothing of the body or of the error's text."""
        traceparent = self.delivery.headers.get("traceparent")
        return {
            "event_id": self.event_id,
            "reason": self.reason,
            "attempts": self.attempts,
            "state": self.state,
            "trace_id": trace_id_of(traceparent) if isinstance(traceparent, str) else "",
        }


def identity(delivery: Delivery) -> str:
    """Name an unreadable delivery by what it is, so that a redelivery is not a second dead letter."""
    digest = hashlib.sha256(delivery.body)
    digest.update(repr((delivery.message_id, delivery.content_type)).encode("utf-8", "replace"))
    return f"sha256:{digest.hexdigest()}"


def dead(event_id: str, delivery: Delivery, reason: str, error: str) -> Failure:
    """Return the failure of a delivery that trying again cannot mend."""
    return Failure(event_id, delivery, reason, error, 1, None)


def failed(event_id: str, delivery: Delivery, error: Exception, attempts: int, now: datetime) -> Failure:
    """Return the failure after so many attempts: due later, or dead when they are used up."""
    wait = listener_retry(attempts)
    due_at = None if wait is None else now + timedelta(seconds=wait)
    return Failure(event_id, delivery, _reason(error), f"{type(error).__name__}: {error}", attempts, due_at)


def _reason(error: Exception) -> str:
    code = getattr(error, "code", "")
    return code if isinstance(code, str) and code else "listener_failed"


async def keep(tx: Transaction, listener: str, failures: Sequence[Failure]) -> None:
    """Keep failures; one that is known already is only counted."""
    if not failures:
        return
    received = Counter(failure.event_id for failure in failures)
    unique = {failure.event_id: failure for failure in failures}.values()
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
        [received[failure.event_id] for failure in unique],
    )


@dataclass(frozen=True, slots=True)
class Due:
    """A failure whose time for another try has come."""

    row_id: int
    event_id: str
    attempts: int
    delivery: Delivery


async def find_due(database: Database, listener: str, now: datetime, most: int) -> list[Due]:
    """Return failures that are due, without holding them."""
    rows = await database.fetch(_SQL["find_due_failures"], listener, now, most)
    return [Due(row["id"], row["event_id"], row["attempts"], _delivery(row)) for row in rows]


async def lock_due(tx: Transaction, row_ids: Sequence[int]) -> set[int]:
    """Lock those rows that are still due and not in other hands; return their ids."""
    return {row["id"] for row in await tx.fetch(_SQL["lock_due_failures"], row_ids, tx.now)}


async def forget(tx: Transaction, ids: Sequence[int]) -> None:
    """Remove failures that were applied after all."""
    if ids:
        await tx.execute(_SQL["forget_failures"], ids)


async def write(tx: Transaction, failures: Sequence[tuple[int, Failure]]) -> None:
    """Write what another try of these rows came to."""
    if failures:
        await tx.execute(
            _SQL["write_failures"],
            [row_id for row_id, _ in failures],
            [failure.state for _, failure in failures],
            [failure.reason for _, failure in failures],
            [_clean(failure.error, _ERROR_MAX) for _, failure in failures],
            [failure.attempts for _, failure in failures],
            [failure.due_at for _, failure in failures],
            tx.now,
        )


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


async def note_action(
    tx: Transaction, who: str, action: Literal["replay", "repair"], selection: str, rows: Sequence[int]
) -> None:
    """Write down, for good, which rows an operator has acted on."""
    await tx.execute(_SQL["note_action"], tx.now, who, action, selection, rows)


class FailureStore:
    """What people do with failures: look at them and replay the dead ones."""

    def __init__(self, database: Database) -> None:
        """Work on a database with listeners."""
        self._database = database

    async def list(
        self, chosen: "Chosen", *, state: str | None = "dead", after: int = 0, most: int = 100
    ) -> Sequence[Record]:
        """Return failures without their bodies, oldest first, after a row id."""
        return await self._database.fetch(
            _SQL["list_failures"], state, chosen.reason, after, most, chosen.listener
        )

    async def groups(self) -> Sequence[Record]:
        """Return how many there are of each state, listener and reason, and since when; at most 100."""
        return await self._database.fetch(_SQL["group_failures"])

    async def find(self, row_id: int) -> Record | None:
        """Return one failure with its body and headers."""
        return await self._database.fetch_one(_SQL["find_failure"], row_id)

    async def replay(self, chosen: "Chosen", who: str, *, most: int = REPLAY_MAX) -> int:
        """Make dead letters due now and write down who did; return how many. Call again for the rest.

        Args:
            chosen: which; what died after ``chosen.until`` is left, or a replay might never end.
            who: the operator.
            most: at most so many, `REPLAY_MAX` at the most.
        """
        async with self._database.transaction() as tx:
            rows = await tx.fetch(
                _SQL["replay_failures"],
                None if chosen.ids is None else list(chosen.ids),
                chosen.reason,
                min(most, REPLAY_MAX),
                tx.now,
                chosen.listener,
                chosen.until,
            )
            if rows:
                await note_action(tx, who, "replay", chosen.text, [row["id"] for row in rows])
            return len(rows)

    async def actions(self, most: int) -> Sequence[Record]:
        """Return what operators did last, newest first."""
        return await self._database.fetch(_SQL["list_actions"], most)

    async def counts(self) -> dict[str, int]:
        """Return the number of failures by state."""
        rows = await self._database.fetch(_SQL["count_failures"])
        return {"retry": 0, "dead": 0} | {row["state"]: row["rows"] for row in rows}


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


def _clean(text: str, most: int = _TEXT_MAX) -> str:
    """Make a stranger's text fit for PostgreSQL, which knows no NUL and no lone surrogate."""
    return text[:most].replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
