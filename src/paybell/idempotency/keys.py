"""Idempotency keys: the same request again gets the first answer again.

After the IETF draft "The Idempotency-Key HTTP Header Field": another body is refused with 422,
a concurrent one with 409. The key is written in the transaction of the work, so an answer is
kept exactly when its work was done, and a failed request may simply be sent again.
"""

import hashlib
import re
from dataclasses import dataclass

from paybell.idempotency.errors import IdempotencyKeyInUse, IdempotencyKeyMissing, IdempotencyKeyReused
from paybell.storage import Transaction, load_queries
from paybell.storage.retention import Rule

_SQL = load_queries(__package__)
_FORM = re.compile(r"[!-~]{1,255}", re.ASCII)


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A caller's key for one route, and the hash of the request it stands for."""

    caller: str
    route: str
    key: str
    request_hash: bytes

    @classmethod
    def of(cls, caller: str, route: str, key: str | None, request: bytes) -> "IdempotencyKey":
        """Make one from a request's parts.

        Raises:
            IdempotencyKeyMissing: no key, or not 1 to 255 printable ASCII characters.
        """
        if key is None or not _FORM.fullmatch(key):
            raise IdempotencyKeyMissing
        return cls(caller, route, key, hashlib.sha256(request).digest())


@dataclass(frozen=True, slots=True)
class Answer:
    """A kept answer: HTTP status and body."""

    status: int
    body: bytes


async def first_answer(tx: Transaction, key: IdempotencyKey) -> Answer | None:
    """Claim the key for this transaction; return the answer kept for it, if any.

    Raises:
        IdempotencyKeyInUse: another transaction works under this key.
        IdempotencyKeyReused: it was used for a different request.
    """
    place = (key.caller, key.route, key.key)
    lock = await tx.fetch_one(_SQL["try_lock_idempotency_key"], *place)
    if lock is None or not lock["locked"]:
        raise IdempotencyKeyInUse
    row = await tx.fetch_one(_SQL["find_idempotent_answer"], *place)
    if row is None:
        return None
    if row["request_hash"] != key.request_hash:
        raise IdempotencyKeyReused
    return Answer(row["status"], row["body"])


async def keep_answer(tx: Transaction, key: IdempotencyKey, answer: Answer) -> None:
    """Keep the answer with the work it tells of."""
    await tx.execute(
        _SQL["keep_idempotent_answer"],
        key.caller,
        key.route,
        key.key,
        key.request_hash,
        answer.status,
        answer.body,
        tx.now,
    )


def retention_rules(days: int) -> tuple[Rule, ...]:
    """Return what is removed: answers that are older than so many days."""
    return (Rule(_SQL["remove_idempotency_keys"], days),)
