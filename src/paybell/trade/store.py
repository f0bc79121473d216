"""Orders in the database: rows end here."""

from collections.abc import Sequence

from paybell.storage import Database, Record, Transaction, load_queries
from paybell.trade.model import Order, OrderStatus, Purchase

_SQL = load_queries(__package__)


def _order(row: Record) -> Order:
    values = dict(row)
    return Order(**values | {"status": OrderStatus(values["status"])})


async def node_number(database: Database) -> int:
    """Return this process's node number for the ids it makes."""
    row = await database.fetch_one(_SQL["next_node_number"])
    assert row is not None
    return int(row["node"])


async def insert(tx: Transaction, purchases: Sequence[Purchase]) -> set[int]:
    """Insert unpaid orders; return the ids of those that are new."""
    rows = await tx.fetch(
        _SQL["insert_orders"],
        [purchase.order_id for purchase in purchases],
        [purchase.buyer_id for purchase in purchases],
        [purchase.total_fee for purchase in purchases],
        [purchase.currency for purchase in purchases],
        [purchase.subject for purchase in purchases],
        tx.now,
    )
    return {row["id"] for row in rows}


async def find(source: Transaction | Database, order_ids: Sequence[int]) -> dict[int, Order]:
    """Return orders by id; missing ones are left out."""
    return {row["id"]: _order(row) for row in await source.fetch(_SQL["find_orders"], order_ids)}


async def link(tx: Transaction, links: Sequence[tuple[int, int]]) -> None:
    """Write the pay orders of these (order id, pay order id) pairs."""
    await tx.execute(_SQL["link_pay_orders"], [order for order, _ in links], [pay for _, pay in links])


async def mark_paid(tx: Transaction, order_ids: Sequence[int]) -> set[int]:
    """Mark unpaid orders paid; return which were."""
    return {row["id"] for row in await tx.fetch(_SQL["mark_paid"], order_ids, tx.now)}


async def mark_cancelled(tx: Transaction, order_id: int) -> Order | None:
    """Mark an unpaid order cancelled; None if it was not unpaid any more."""
    row = await tx.fetch_one(_SQL["mark_cancelled"], order_id, tx.now)
    return None if row is None else _order(row)
