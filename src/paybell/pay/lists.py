"""Lists of pay orders and of refunds, newest first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from paybell.clock import Clock
from paybell.pay import store
from paybell.pay.model import PayOrder, RefundStatus
from paybell.pay.status import PayStatus
from paybell.storage import Database, Record, Transaction, load_queries
from paybell.storage.listing import Listing, Wanted

_SQL = load_queries(__package__, "lists.sql")


@dataclass(frozen=True, slots=True)
class RefundRow:
    """A refund with what its pay order says of it; the amount in minor units."""

    id: int
    pay_order_id: int
    biz_order_no: int
    merchant_id: str
    payer_id: str
    amount: int
    currency: str
    reason: str
    created_at: datetime
    status: RefundStatus


def pay_order_list(database: Database, clock: Clock) -> Listing[PayOrder]:
    """Return the list of pay orders: of a payer, of a merchant, or of everybody."""
    return Listing(database, clock, walk_pay_orders, _pay_orders)


def refund_list(database: Database, clock: Clock) -> Listing[RefundRow]:
    """Return the list of refunds."""
    return Listing(database, clock, _walk_refunds, _refunds)


async def find_refunds(database: Database, refund_ids: Sequence[int], merchant_id: str) -> list[RefundRow]:
    """Return those of these refunds that are of a merchant, newest first."""
    rows = await database.fetch(_SQL["find_refunds"], refund_ids, merchant_id)
    return [RefundRow(**row) for row in rows]


async def walk_pay_orders(tx: Transaction, wanted: Wanted, limit: int) -> Sequence[Record]:
    """Read a piece along the index that fits: of the payer, else of the merchant, else of all."""
    if wanted.person is not None:
        query = _SQL["newest_of_payer"]
    elif wanted.merchant is not None:
        query = _SQL["newest_of_merchant"]
    else:
        query = _SQL["newest_of_all"]
    return await tx.fetch(query, *bounds(wanted), limit)


def bounds(wanted: Wanted) -> tuple[object, ...]:
    """Return the first nine parameters of queries that read pieces of pay orders."""
    status = None if wanted.status is None else PayStatus[wanted.status].value
    return *_common(wanted), status, wanted.merchant, wanted.person


async def _pay_orders(rows: Sequence[Record]) -> list[PayOrder]:
    return [store.pay_order(row) for row in rows]


async def _walk_refunds(tx: Transaction, wanted: Wanted, limit: int) -> Sequence[Record]:
    whose = wanted.status, wanted.merchant, wanted.person
    return await tx.fetch(_SQL["newest_refunds"], *_common(wanted), *whose, limit)


async def _refunds(rows: Sequence[Record]) -> list[RefundRow]:
    names = RefundRow.__slots__
    return [RefundRow(**{name: row[name] for name in names}) for row in rows]


def _common(wanted: Wanted) -> tuple[object, ...]:
    first, end = wanted.ids
    return first, end, wanted.since, wanted.until, wanted.least, wanted.most
