"""The books, read from the two databases: what happened, whatever any program believes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paybell.clock import Clock
from paybell.errors import Unavailable
from paybell.storage import Database, Record, load_queries
from paybell.verification.ledger_check import trial_balance

_SQL = load_queries(__package__, "audit.sql")
# How long an outbox may stay as it is before waiting longer will not help.
STALL_SECONDS = 30.0
_POLL_SECONDS = 0.05
_CONNECTIONS = 2


@dataclass(frozen=True, slots=True)
class Audit:
    """What the databases say; amounts in minor units.

    Attributes:
        paid: pay orders that are paid.
        debited: what payment transfers took out of wallets for them.
        marked_paid: orders the order service calls paid.
        lost: paid in pay, and the order service does not know.
        duplicated: paid by more than one transfer, applied more than once, or wallets debited
            more than their paid orders.
        unfounded: marked paid by the order service, and not paid.
        ledger_balanced: the ledger sums to zero and every account equals its transfers.
    """

    paid: int
    debited: int
    marked_paid: int
    lost: int
    duplicated: int
    unfounded: int
    ledger_balanced: bool

    @property
    def clean(self) -> bool:
        """Say whether every promise was kept."""
        return self.lost == self.duplicated == self.unfounded == 0 and self.ledger_balanced


async def audit(
    urls: Mapping[str, str], merchant_id: str, clock: Clock, biz_order_nos: Sequence[int] | None = None
) -> Audit:
    """Read the books of one merchant, once the outbox is empty.

    Args:
        urls: of the databases ``pay`` and ``trade``.
        merchant_id: whose pay orders.
        clock: measures how long the outbox may stand still.
        biz_order_nos: the orders concerned; None: all there are.

    Raises:
        Unavailable: a database does not answer, or events stay in the outbox.
    """
    numbers = None if biz_order_nos is None else list(biz_order_nos)
    async with (
        Database.open(urls["pay"], clock, connections=_CONNECTIONS) as pay,
        Database.open(urls["trade"], clock, connections=_CONNECTIONS) as trade,
    ):
        await _until_told(pay, clock)
        # Pay first: events that reach trade in between can only add to what it knows.
        payments = await _row(pay, "audit_pay", merchant_id, numbers)
        orders = await _row(trade, "audit_trade", numbers, payments["paid"])
        inbox = await _row(trade, "audit_inbox", payments["paid"])
        balanced = await trial_balance(pay)
    return Audit(
        paid=len(payments["paid"]),
        debited=payments["debited"],
        marked_paid=orders["marked_paid"],
        lost=orders["lost"],
        duplicated=payments["moved_again"] + payments["debited_too_much"] + inbox["applied_again"],
        unfounded=orders["unfounded"],
        ledger_balanced=balanced,
    )


async def _until_told(pay: Database, clock: Clock) -> None:
    """Wait for an empty outbox, as long as it gets shorter."""
    least, deadline = float("inf"), clock.monotonic() + STALL_SECONDS
    while pending := (await _row(pay, "count_outbox"))["pending"]:
        if pending < least:
            least, deadline = pending, clock.monotonic() + STALL_SECONDS
        if clock.monotonic() > deadline:
            raise Unavailable(
                f"{pending} events still wait in the outbox; is a relay running and the broker reachable?"
            )
        await clock.sleep(_POLL_SECONDS)


async def _row(database: Database, query: str, *arguments: object) -> Record:
    row = await database.fetch_one(_SQL[query], *arguments)
    assert row is not None
    return row
