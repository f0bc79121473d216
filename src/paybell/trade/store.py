"""Orders in the database: rows end here."""

from collections.abc import Collection, Sequence
from datetime import datetime

from paybell.storage import ConstraintViolated, Database, Record, Transaction, load_queries
from paybell.trade.model import Order, OrderStatus, Purchase

_SQL = load_queries(__package__)
# Whether there is a refund to ask for, or an order to ask about.
REFUNDS_DUE, CHECKS_DUE = _SQL["refunds_due"], _SQL["checks_due"]


def order(row: Record) -> Order:
    """Read a row of all columns, and perhaps others."""
    values = {name: row[name] for name in Order.__slots__}
    return Order(**values | {"status": OrderStatus(values["status"])})


async def insert(
    database: Database, purchases: Sequence[Purchase], now: datetime, check_at: datetime
) -> tuple[dict[int, Order], set[int]]:
    """Insert unpaid orders, and when to ask about them first; return all of these, and the new ones' ids."""
    rows = await database.write(
        _SQL["insert_orders"],
        [purchase.order_id for purchase in purchases],
        [purchase.buyer_id for purchase in purchases],
        [purchase.total_fee for purchase in purchases],
        [purchase.currency for purchase in purchases],
        [purchase.subject for purchase in purchases],
        now,
        check_at,
    )
    orders = {row["id"]: order(row) for row in rows}
    return await _complete(database, orders, [one.order_id for one in purchases]), {
        row["id"] for row in rows if row["fresh"]
    }


async def _complete(
    database: Database, orders: dict[int, Order], wanted: Collection[int]
) -> dict[int, Order]:
    """Add those that the statement did not see or change: they were committed while it ran, or before."""
    missing = [number for number in wanted if number not in orders]
    return orders | await find(database, missing) if missing else orders


async def find(source: Transaction | Database, order_ids: Sequence[int]) -> dict[int, Order]:
    """Return orders by id; missing ones are left out."""
    return {row["id"]: order(row) for row in await source.fetch(_SQL["find_orders"], order_ids)}


async def lock(tx: Transaction, order_ids: Collection[int]) -> dict[int, Order]:
    """Lock orders in id order; missing ones are left out."""
    return {row["id"]: order(row) for row in await tx.fetch(_SQL["lock_orders"], list(order_ids))}


async def write_changed(tx: Transaction, orders: Collection[Order]) -> None:
    """Write orders that were locked and have changed."""
    if orders:
        await tx.execute(
            _SQL["write_changed"],
            [order.id for order in orders],
            [order.status.value for order in orders],
            [order.paid_at for order in orders],
            [order.cancelled_at for order in orders],
            [order.version for order in orders],
            [order.refunded_amount for order in orders],
        )
        await owe_refunds(tx, [order.id for order in orders])


async def owe_refunds(tx: Transaction, order_ids: Sequence[int]) -> None:
    """Owe the money of those of these orders that were cancelled and have been paid."""
    await tx.execute(_SQL["owe_refunds"], order_ids, tx.now)


async def note_paid_though_cancelled(tx: Transaction, order_ids: Sequence[int]) -> None:
    """Keep that money came for cancelled orders, and owe it."""
    await tx.execute(_SQL["note_paid_though_cancelled"], order_ids, tx.now)
    await owe_refunds(tx, order_ids)


async def take_owed_refunds(
    database: Database, first_wait_seconds: float, most_wait_seconds: float, limit: int
) -> list[int]:
    """Take debts that are due; each is due again after a wait that doubles."""
    rows = await database.fetch(
        _SQL["take_owed_refunds"], database.now, first_wait_seconds, most_wait_seconds, limit
    )
    return [row["order_id"] for row in rows]


async def drop_owed_refunds(tx: Transaction, order_ids: Sequence[int]) -> None:
    """Remove debts that are settled."""
    await tx.execute(_SQL["drop_owed_refunds"], order_ids)


async def take_due_checks(database: Database, lease_seconds: float, limit: int) -> dict[int, int]:
    """Take checks that are due; return how often pay has answered about each order."""
    rows = await database.fetch(_SQL["take_due_checks"], database.now, lease_seconds, limit)
    return {row["order_id"]: row["asked"] for row in rows}


async def plan_checks(tx: Transaction, plans: Sequence[tuple[int, int, datetime]]) -> None:
    """Write (order id, times answered, next due time) of checks that go on."""
    if plans:
        numbers, asked, due_at = zip(*plans, strict=True)
        await tx.execute(_SQL["plan_checks"], numbers, asked, due_at)


async def drop_checks(tx: Transaction, order_ids: Sequence[int]) -> None:
    """Remove checks of orders that need none any more."""
    if order_ids:
        await tx.execute(_SQL["drop_checks"], order_ids)


async def link(database: Database, links: Sequence[tuple[int, int]]) -> dict[int, Order]:
    """Write the pay orders of these (order id, pay order id) pairs; return the orders by id."""
    numbers = [number for number, _ in links]
    rows = await database.write(_SQL["link_pay_orders"], numbers, [pay_order for _, pay_order in links])
    return await _complete(database, {row["id"]: order(row) for row in rows}, numbers)


async def mark_paid(tx: Transaction, order_ids: Sequence[int]) -> set[int]:
    """Mark unpaid orders paid; return which were."""
    return {row["id"] for row in await tx.fetch(_SQL["mark_paid"], order_ids, tx.now)}


async def mark_all_paid(
    database: Database, listener: str, events: Sequence[tuple[int, str, str | None]]
) -> Collection[int]:
    """Mark unpaid orders paid and remember why, in a transaction of its own; return which were: all, or none.

    Args:
        database: with the orders and the inbox.
        listener: whose inbox it is.
        events: order id, event id, publishing.
    """
    numbers, ids, attempts = zip(*events, strict=True)
    try:
        rows = await database.write(_SQL["mark_all_paid"], listener, numbers, ids, attempts, database.now)
    except ConstraintViolated:  # one is remembered already
        return ()
    return {row["id"] for row in rows}


async def find_fees(database: Database, order_ids: Sequence[int]) -> dict[int, tuple[int, str]]:
    """Return what orders come to, amount in minor units and currency, by id; missing ones are left out."""
    rows = await database.fetch(_SQL["find_fees"], order_ids)
    return {row["id"]: (row["total_fee"], row["currency"]) for row in rows}


async def mark_cancelled(tx: Transaction, order_id: int) -> Order | None:
    """Mark an unpaid order cancelled; None if it was not unpaid any more."""
    row = await tx.fetch_one(_SQL["mark_cancelled"], order_id, tx.now)
    return None if row is None else order(row)
