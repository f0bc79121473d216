"""Idempotency keys: the same request again gets the first answer again.

After the IETF draft "The Idempotency-Key HTTP Header Field": another body is refused with 422,
a concurrent one with 409. A key belongs to the merchant it was sent for, whoever of it sends it, and
to one method and path. The key is written in the transaction of the work, so an answer is
kept exactly when its work was done, and a failed request may simply be sent again.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from paybell.idempotency.errors import IdempotencyKeyInUse, IdempotencyKeyMissing, IdempotencyKeyReused
from paybell.storage import ConstraintViolated, Database, Transaction, load_queries
from paybell.storage.retention import Rule

_SQL = load_queries(__package__)
_FORM = re.compile(r"[!-~]{1,255}", re.ASCII)
Done = TypeVar("Done")


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A merchant's key for one method and path, and the hash of the request it stands for.

    Attributes:
        former_caller: the token's ``sub`` on routes whose keys belonged to it in earlier releases, else
            None; what was done under such a key is found.
    """

    merchant_id: str
    route: str
    key: str
    request_hash: bytes
    former_caller: str | None = None

    @classmethod
    def of(
        cls, merchant_id: str, route: str, key: str | None, request: bytes, former_caller: str | None = None
    ) -> "IdempotencyKey":
        """Make one from a request's parts; blanks around a header's value are none of it (RFC 9110).

        Raises:
            IdempotencyKeyMissing: no key, or not 1 to 255 printable ASCII characters.
        """
        key = "" if key is None else key.strip(" \t")
        if not _FORM.fullmatch(key):
            raise IdempotencyKeyMissing
        return cls(merchant_id, route, key, hashlib.sha256(request).digest(), former_caller)

    @property
    def callers(self) -> list[str]:
        """Under whose name it may have been kept, today's first."""
        former = [] if self.former_caller in (None, self.merchant_id) else [self.former_caller]
        return [self.merchant_id, *filter(None, former)]


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """A kept answer: HTTP status and body."""

    status: int
    body: bytes


async def first_answers(
    tx: Transaction, keys: Sequence[IdempotencyKey]
) -> list[KeptAnswer | IdempotencyKeyInUse | IdempotencyKeyReused | None]:
    """Claim the keys for this transaction; return for each the answer kept for it, or why it cannot be used.

    In use: another transaction works under the key, or an earlier one of these is the same. Reused: it was
    used for a different request. None: it is claimed, and nothing was done under it.
    """
    outcomes: list[KeptAnswer | IdempotencyKeyInUse | IdempotencyKeyReused | None] = [None] * len(keys)
    places = [place for place, key in enumerate(keys) for _ in key.callers]
    wanted = [(caller, key.route, key.key) for key in keys for caller in key.callers]
    columns = [list(column) for column in zip(*wanted, strict=True)]
    claimed: set[tuple[str, str, str]] = set()
    for place, name, row in zip(
        places, wanted, await tx.fetch(_SQL["try_lock_idempotency_keys"], *columns), strict=True
    ):
        if not row["locked"] or name in claimed:  # a transaction is never refused its own lock
            outcomes[place] = IdempotencyKeyInUse()
        claimed.add(name)
    for row in await tx.fetch(_SQL["find_idempotent_answers"], *columns, places):
        if outcomes[row["place"]] is None:
            same = row["request_hash"] == keys[row["place"]].request_hash
            answer = KeptAnswer(row["status"], row["body"])
            outcomes[row["place"]] = answer if same else IdempotencyKeyReused()
    return outcomes


async def keep_answers(tx: Transaction, answers: Sequence[tuple[IdempotencyKey, KeptAnswer]]) -> None:
    """Keep answers with the work they tell of."""
    if answers:
        rows = [
            (key.merchant_id, key.route, key.key, key.request_hash, answer.status, answer.body)
            for key, answer in answers
        ]
        columns = [list(column) for column in zip(*rows, strict=True)]
        await tx.execute(_SQL["keep_idempotent_answers"], *columns, tx.now)


async def answer_once(
    database: Database,
    key: IdempotencyKey,
    work: Callable[[Transaction], Awaitable[Done]],
    show: Callable[[Done], KeptAnswer],
    *,
    taken: str,
) -> tuple[KeptAnswer, bool]:
    """Do the work and keep its answer in one transaction, or return the answer kept before.

    Args:
        database: where the work is done and its answer kept.
        key: the request's.
        work: what is done once.
        show: makes the answer of what was done.
        taken: the constraint that keeps the work from being done twice for ever, also after its
            answer was removed.

    Returns:
        The answer, and whether it is that of an earlier request.

    Raises:
        IdempotencyKeyInUse, IdempotencyKeyReused: about the key; and what the work raises.
    """
    try:
        async with database.transaction() as tx:
            (kept,) = await first_answers(tx, [key])
            if isinstance(kept, KeptAnswer):
                return kept, True
            if kept is not None:
                raise kept
            answer = show(await work(tx))
            await keep_answers(tx, [(key, answer)])
            return answer, False
    except ConstraintViolated as error:
        if error.name == taken:
            raise IdempotencyKeyReused from error
        raise


def retention_rules(days: int) -> tuple[Rule, ...]:
    """Return what is removed: answers that are older than so many days."""
    return (Rule(_SQL["remove_idempotency_keys"], days),)
