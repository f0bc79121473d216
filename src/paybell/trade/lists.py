"""The list of orders, newest first."""

from collections.abc import Sequence

from paybell.clock import Clock
from paybell.storage import Database, Record, Transaction, load_queries
from paybell.storage.listing import Listing, Place, Wanted
from paybell.trade import store
from paybell.trade.model import Order

_SQL = load_queries(__package__, "lists.sql")


def order_list(database: Database, clock: Clock) -> Listing[Order]:
    """Return the list of orders: of a buyer, or of everybody."""
    return Listing(database, clock, _walk, _orders)


async def _walk(tx: Transaction, wanted: Wanted, limit: int) -> Sequence[Record]:
    query = _SQL["newest_of_all" if wanted.person is None else "newest_of_buyer"]
    before = wanted.after or Place(wanted.until, 0, wanted.since)
    return await tx.fetch(
        query,
        before.at,
        before.id,
        wanted.since,
        wanted.until,
        wanted.least,
        wanted.most,
        wanted.status,
        wanted.person,
        limit,
    )


async def _orders(rows: Sequence[Record]) -> list[Order]:
    return [store.order(row) for row in rows]
