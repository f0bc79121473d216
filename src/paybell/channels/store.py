"""Attempts in the database: rows end here."""

from collections.abc import Sequence
from datetime import timedelta

from paybell.channels.attempt import Attempt, AttemptState
from paybell.channels.channel import Kind
from paybell.storage import Database, Record, Transaction, load_queries

_SQL = load_queries(__package__)
# Whether an attempt at the channel of this name is to be queried, or money to be given back at any.
ATTEMPTS_DUE, RETURNS_DUE = _SQL["attempts_due"], _SQL["returns_due"]
_KIND, _STATE = Attempt.__struct_fields__.index("kind"), Attempt.__struct_fields__.index("state")
_DETAIL_MAX, _CODE_MAX = 1024, 255
# What a process has taken up and not finished is taken up by another one after this; longer than any call.
LEASE_SECONDS = 30.0
# What a channel said that was not asked for is shown for so long, and until the attempt is final.
DIFFERENCES_SHOWN = timedelta(days=7)


def attempt(row: Record) -> Attempt:
    """Read a row of all columns."""
    values = list(row.values())
    values[_KIND], values[_STATE] = Kind(values[_KIND]), AttemptState(values[_STATE])
    return Attempt(*values)


def plain(text: str, most: int) -> str:
    """Cut a stranger's text to what a column holds; JSON may name halves of characters, which are none."""
    return text.encode(errors="replace").decode().replace("\0", "")[:most]


async def insert(tx: Transaction, prepared: Attempt) -> None:
    """Write an attempt that is prepared.

    Raises:
        ConstraintViolated: ``one_live_debit_per_pay_order`` or ``one_live_attempt_per_channel``.
    """
    await tx.execute(
        _SQL["insert_attempt"],
        prepared.id,
        prepared.pay_order_id,
        prepared.channel,
        prepared.kind.value,
        prepared.amount,
        prepared.currency,
        prepared.merchant,
        prepared.created_at,
        prepared.expires_at,
        prepared.next_query_at,
        prepared.traceparent,
    )


async def find(database: Database, attempt_id: int) -> Attempt | None:
    """Return an attempt."""
    row = await database.fetch_one(_SQL["find_attempt"], attempt_id)
    return None if row is None else attempt(row)


async def of_pay_order(database: Database, pay_order_id: int) -> list[Attempt]:
    """Return a pay order's attempts, oldest first."""
    return [attempt(row) for row in await database.fetch(_SQL["attempts_of_pay_order"], pay_order_id)]


async def lock_of_pay_order(tx: Transaction, pay_order_id: int) -> dict[int, Attempt]:
    """Lock the attempts of a pay order that is locked; return them by id."""
    rows = await tx.fetch(_SQL["lock_attempts_of_pay_order"], pay_order_id)
    return {row["id"]: attempt(row) for row in rows}


async def mark_sent(tx: Transaction, attempt_id: int) -> bool:
    """Note that a call begins; say whether it may."""
    lease = tx.now + timedelta(seconds=LEASE_SECONDS)
    return await tx.fetch_one(_SQL["mark_sent"], attempt_id, tx.now, lease) is not None


async def write(tx: Transaction, decided: Attempt) -> None:
    """Write an attempt that was locked and decided.

    Raises:
        ConstraintViolated: ``one_receipt_settles_one_attempt``, or a move there is not.
    """
    await tx.execute(
        _SQL["write_attempt"],
        decided.id,
        decided.state.value,
        decided.changed_at,
        decided.next_query_at,
        decided.queries,
        decided.reference,
        decided.qr_code,
        decided.redirect_url,
        decided.transaction_id,
        plain(decided.code, _CODE_MAX),
        plain(decided.detail, _DETAIL_MAX),
    )


async def take_due(tx: Transaction, channel: str, limit: int) -> list[Attempt]:
    """Take a channel's attempts that are due; they are ours until the lease is over."""
    rows = await tx.fetch(_SQL["take_due_attempts"], channel, tx.now, LEASE_SECONDS, limit)
    return [attempt(row) for row in rows]


async def make_windows_due(tx: Transaction, pay_order_id: int) -> None:
    """Have the open windows of a pay order closed soon: nothing is left to pay."""
    await tx.execute(_SQL["make_windows_due"], pay_order_id, tx.now)


async def note_difference(tx: Transaction, of: Attempt, detail: str) -> None:
    """Keep for people that a channel said of an attempt what was not asked for; once for each saying."""
    await tx.execute(_SQL["note_difference"], of.id, tx.now, of.state.value, plain(detail, _DETAIL_MAX))


async def count_live(database: Database) -> Sequence[tuple[str, str, int]]:
    """Return how many attempts are not final or need a person, by channel and state."""
    rows = await database.fetch(_SQL["count_live"], database.now - DIFFERENCES_SHOWN)
    return [(row["channel"], row["state"], row["attempts"]) for row in rows]


async def is_taken(database: Database, channel: str, notice_id: str) -> bool:
    """Say whether a notice was taken before."""
    return await database.fetch_one(_SQL["find_notice"], channel, plain(notice_id, _CODE_MAX)) is not None


async def note_notice(tx: Transaction, channel: str, notice_id: str, attempt_id: int) -> None:
    """Note that a notice was taken."""
    await tx.execute(_SQL["note_notice"], channel, plain(notice_id, _CODE_MAX), attempt_id, tx.now)


async def hasten_windows(tx: Transaction, pay_order_id: int, seconds: float) -> None:
    """Have the open windows of a pay order queried within so long."""
    await tx.execute(_SQL["hasten_windows"], pay_order_id, tx.now + timedelta(seconds=seconds))


async def hasten_refund(tx: Transaction, refund_id: int) -> None:
    """Have money on its way back asked about now."""
    await tx.execute(_SQL["hasten_refund"], refund_id, tx.now)
