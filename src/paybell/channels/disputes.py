"""What buyers dispute after they have paid: written down as the channel tells of it; nothing is booked."""

from collections.abc import Sequence

import structlog

from paybell.channels import store
from paybell.channels.channel import Disputed
from paybell.storage import Database, load_queries

log = structlog.get_logger()
_SQL = load_queries(__package__, "disputes.sql")


async def record(database: Database, channel: str, notice_id: str, said: Disputed) -> bool:
    """Write down what a verified notice says of a dispute; say whether it is about a payment of ours.

    Notices come in any order: what says that a dispute is closed is the last word.
    """
    async with database.transaction() as tx:
        row = await tx.fetch_one(_SQL["disputed_attempt"], channel, said.transaction_id)
        if row is None:
            return False
        await tx.execute(
            _SQL["write_dispute"],
            channel,
            store.plain(said.number, 255),
            row["id"],
            said.amount,
            said.currency,
            store.plain(said.reason, 255),
            store.plain(said.status, 255),
            tx.now,
            tx.now if said.closed else None,
        )
        await store.note_notice(tx, channel, notice_id, row["id"])
    names = {"attempt_id": row["id"], "pay_order_id": row["pay_order_id"], "channel": channel}
    tell = log.warning if said.closed else log.error
    tell("channel_dispute", **names, dispute=said.number, reason=said.reason, status=said.status)
    return True


async def count_open(database: Database) -> Sequence[tuple[str, int]]:
    """Return how many disputes are to be answered at each channel."""
    return [(row["channel"], row["disputes"]) for row in await database.fetch(_SQL["count_open"])]
