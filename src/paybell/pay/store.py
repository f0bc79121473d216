"""Pay orders in the database: rows end here."""

from collections.abc import Collection, Sequence
from datetime import datetime

from paybell.errors import AttemptNotFinal, Busy
from paybell.ids import Ids
from paybell.pay.model import Application, PayOrder, Refund, RefundStatus, WayBack
from paybell.pay.status import PayStatus
from paybell.storage import Database, Record, Transaction, load_queries

_SQL = load_queries(__package__)
# Whether a deadline has passed.
DEADLINES_DUE = _SQL["deadlines_due"]
_COLUMNS = len(PayOrder.__struct_fields__)
_STATUS = PayOrder.__struct_fields__.index("status")


def pay_order(row: Record) -> PayOrder:
    """Read a row of all columns, and perhaps others after them."""
    values = list(row.values())[:_COLUMNS]
    values[_STATUS] = PayStatus(values[_STATUS])
    return PayOrder(*values)


async def insert(
    database: Database, applications: Sequence[Application], ids: Ids, now: datetime
) -> tuple[dict[tuple[str, int], PayOrder], set[int]]:
    """Insert pay orders where there are none.

    Returns:
        The pay orders by merchant id and business order number, and the ids of the new ones. One is missing
        where its merchant has no account in its currency, or somebody else was inserting it.
    """
    rows = await database.write(
        _SQL["insert_pay_orders"],
        [ids.next() for _ in applications],
        [application.merchant_id for application in applications],
        [application.biz_order_no for application in applications],
        [application.payer_id for application in applications],
        [application.amount for application in applications],
        [application.currency for application in applications],
        [application.subject for application in applications],
        [application.ttl_seconds for application in applications],
        now,
    )
    orders = {(row["merchant_id"], row["biz_order_no"]): pay_order(row) for row in rows}
    return orders, {row["id"] for row in rows if row["fresh"]}


async def find_by_biz_order_nos(
    tx: Transaction | Database, keys: Collection[tuple[str, int]]
) -> dict[tuple[str, int], PayOrder]:
    """Return the pay orders of these (merchant id, business order number) pairs."""
    rows = await tx.fetch(_SQL["find_by_biz_order_nos"], [number for _, number in keys], [m for m, _ in keys])
    return {(row["merchant_id"], row["biz_order_no"]): pay_order(row) for row in rows}


async def find(database: Database, pay_order_id: int) -> PayOrder | None:
    """Return a pay order."""
    row = await database.fetch_one(_SQL["find_pay_order"], pay_order_id)
    return None if row is None else pay_order(row)


async def lock(tx: Transaction, pay_order_ids: Collection[int]) -> dict[int, PayOrder]:
    """Lock pay orders; missing ones are left out.

    Raises:
        Busy: somebody else holds one of them.
    """
    rows = await tx.fetch(_SQL["lock_pay_orders"], list(pay_order_ids))
    orders = {row["id"]: pay_order(row) for row in rows}
    if await existing(tx, [number for number in pay_order_ids if number not in orders]):
        raise Busy
    return orders


async def existing(tx: Transaction, pay_order_ids: Sequence[int]) -> set[int]:
    """Return those of these ids that are pay orders'."""
    rows = await tx.fetch(_SQL["find_pay_order_ids"], pay_order_ids) if pay_order_ids else []
    return {row["id"] for row in rows}


async def mark_received(tx: Transaction, order: PayOrder) -> None:
    """Write an order that was locked and has been paid with money from elsewhere."""
    changed = await tx.execute(_SQL["mark_received"], order.id, tx.now, order.channel)
    assert changed == 1, "a locked pay order changed under us"


async def mark_closed(tx: Transaction, orders: Collection[PayOrder]) -> None:
    """Write orders that were locked and decided to be closed.

    Raises:
        AttemptNotFinal: money from elsewhere may come for one of them.
    """
    if orders:
        changed = await tx.execute(_SQL["mark_closed"], [order.id for order in orders], tx.now)
        if changed < len(orders):
            raise AttemptNotFinal


async def hold(tx: Transaction, order: PayOrder, *, moves_money: bool) -> None:
    """Keep an order that was locked from being closed, and if money may be moving for it, from being paid.

    Its deadline still ends what may be begun; nobody closes it then, until it is released.
    """
    await tx.execute(_SQL["hold_pay_order"], order.id, moves_money)


async def release(tx: Transaction, order: PayOrder) -> None:
    """Let an order that was locked be closed again, at its deadline or because that has passed."""
    await tx.execute(_SQL["release_pay_order"], order.id)


async def mark_refunded(tx: Transaction, order: PayOrder) -> None:
    """Write an order that was locked and has had money given back."""
    changed = await tx.execute(_SQL["mark_refunded"], order.id, order.refunded_amount)
    assert changed == 1, "a locked pay order changed under us"


async def insert_refund(tx: Transaction, refund: Refund) -> None:
    """Write a refund; its number is taken for ever.

    Raises:
        ConstraintViolated: ``refund_number_once``.
    """
    await tx.execute(
        _SQL["insert_refund"],
        refund.id,
        refund.pay_order_id,
        refund.number,
        refund.amount,
        refund.reason,
        tx.now,
    )


async def find_way_back(tx: Transaction, order: PayOrder) -> WayBack | None:
    """Return how the money of an order that is locked came from elsewhere; None: from a balance of ours."""
    row = await tx.fetch_one(_SQL["find_way_back"], order.id)
    return None if row is None else WayBack(**row)


async def owe_refund(tx: Transaction, refund: Refund, way: WayBack, traceparent: str) -> None:
    """Write down that a refund is to go back by a channel."""
    await tx.execute(_SQL["owe_refund"], refund.id, way.attempt_id, refund.amount, tx.now, traceparent)


async def find_refunds(database: Database, pay_order_id: int, limit: int) -> list[Refund]:
    """Return a pay order's refunds, oldest first, as they stand."""
    rows = await database.fetch(_SQL["find_refunds"], pay_order_id, limit)
    return [_refund(row) for row in rows]


async def find_decided_refund(database: Database, pay_order_id: int, number: str) -> Refund | None:
    """Return a refund that went back by a channel and is not on its way any more."""
    row = await database.fetch_one(_SQL["find_decided_refund"], pay_order_id, number)
    return None if row is None else _refund(row)


def _refund(row: Record) -> Refund:
    return Refund(**{**row, "status": RefundStatus(row["status"])})


async def take_due(tx: Transaction, limit: int) -> list[int]:
    """Take the deadlines that have passed, oldest first; return their pay orders' ids."""
    return [row["pay_order_id"] for row in await tx.fetch(_SQL["take_due_deadlines"], tx.now, limit)]
