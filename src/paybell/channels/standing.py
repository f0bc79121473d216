"""Where all attempts stand, to be laid beside the books of simulators; for databases of demos and tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from paybell.channels.attempt import AttemptState
from paybell.pay.status import PayStatus
from paybell.storage import Database, load_queries

_SQL = load_queries(__package__, "standing.sql")


class Outcome(NamedTuple):
    """What an attempt came to here, and its pay order with its amounts in minor units."""

    number: str
    channel: str
    state: AttemptState
    pay_order_id: int
    amount: int
    refunded: int
    paid: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """One moment.

    Attributes:
        outcomes: of all attempts there are.
        kept: by channel, what came from it less what goes back, by our ledger, in minor units.
        unfinished: attempts and money on its way back that nobody has decided yet.
    """

    outcomes: Sequence[Outcome]
    kept: Mapping[str, int]
    unfinished: int


async def standing(database: Database) -> Standing:
    """Read it."""
    async with database.snapshot() as tx:
        rows = await tx.fetch(_SQL["outcomes"])
        kept = await tx.fetch(_SQL["kept"])
        unfinished = await tx.fetch_one(_SQL["unfinished"])
    assert unfinished is not None
    found = [
        Outcome(
            str(row["id"]),
            row["channel"],
            AttemptState(row["state"]),
            row["pay_order_id"],
            row["amount"],
            row["refunded_amount"],
            row["status"] == PayStatus.TRADE_SUCCESS,
        )
        for row in rows
    ]
    return Standing(found, {row["channel"]: row["amount"] for row in kept}, unfinished["things"])
