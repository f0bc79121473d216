"""Failures as rows: what a listener could not apply, waiting for another attempt or dead with its reason.

They stand in the listener's own database, so keeping one and acknowledging its delivery cannot
come apart, and an outage of that database uses up no attempt. Why not TTL queues at the broker:
`docs/decisions/retries-in-the-database.md`.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import msgspec

from paybell.messaging.arrivals import Arrival, Failure, fingerprint
from paybell.messaging.broker import Delivery
from paybell.storage import Database, Record, Transaction, load_queries

_SQL = load_queries(__package__)
# Whether a failure of the listener of this name is to be tried again.
FAILURES_DUE = _SQL["failures_due"]
# A reason is for people; a stack of causes has no end.
_ERROR_MAX = 2_000
_TEXT_MAX = 255
# How long a failure that is due belongs to the process that has taken it.
TAKEN_SECONDS = 60.0


async def take_due(database: Database, listener: str, now: datetime, limit: int) -> list[Arrival]:
    """Take failures that are due, so that no other process does for `TAKEN_SECONDS`."""
    rows = await database.fetch(_SQL["take_due_failures"], listener, now, limit, TAKEN_SECONDS)
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
