"""What pay has written down, for whoever compares it with others; and how an event is published again."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime, timedelta

from paybell.ids import new_traceparent
from paybell.messaging.events import PAY_CLOSED, PAY_REFUNDED, PAY_SUCCESS
from paybell.messaging.outbox import Outbox
from paybell.pay import store
from paybell.pay.model import PayOrder
from paybell.pay.status import PayStatus
from paybell.reconciliation.differences import Difference
from paybell.reconciliation.entries import Bucket, Entry, Standing
from paybell.storage import Database, load_queries
from paybell.storage.operator_actions import note_action

_SQL = load_queries("paybell.pay", "books.sql")
# Whether work of this name is to be done by somebody.
TURN_DUE = _SQL["turn_due"]
# Ids of transfers are in the order of time but for transactions under way, and for machines' clocks.
_TRANSFER_DISORDER = timedelta(minutes=1)
_STANDINGS = {PayStatus.TRADE_SUCCESS: Standing.PAID, PayStatus.TRADE_CLOSED: Standing.CLOSED}


class PayBooks:
    """One merchant's pay orders as entries. Reads in small statements that lock nothing."""

    def __init__(self, database: Database, outbox: Outbox, merchant_id: str) -> None:
        self._database = database
        self._outbox = outbox
        self._merchant_id = merchant_id

    async def buckets(self, after: int, limit: int, width: int) -> tuple[Mapping[int, Bucket], int | None]:
        """Cut the next ``limit`` pay orders after an id into buckets ``width`` ids wide.

        Returns:
            The buckets by number (``id // width``), and the last id in them; None after the last one.
        """
        rows = await self._database.fetch(_SQL["pay_buckets"], self._merchant_id, after, limit, width)
        buckets = {row["bucket"]: Bucket(row["orders"], row["digest"]) for row in rows if row["orders"]}
        return buckets, rows[-1]["last_id"] if rows else None

    async def entries(self, after: int, last: int) -> list[Entry]:
        """Return the entries of pay orders with ids above ``after`` and up to ``last``."""
        rows = await self._database.fetch(_SQL["pay_entries_between"], self._merchant_id, after, last)
        return [_entry(store.pay_order(row)) for row in rows]

    async def find(self, numbers: Collection[int]) -> dict[int, Entry]:
        """Return entries by business order number; missing ones are left out."""
        keys = [(self._merchant_id, number) for number in numbers]
        orders = await store.find_by_biz_order_nos(self._database, keys)
        refunded = [order.id for order in orders.values() if order.refunded_amount]
        rows = await self._database.fetch(_SQL["refunded_at"], refunded) if refunded else ()
        refunded_at = {row["pay_order_id"]: row["refunded_at"] for row in rows}
        return {order.biz_order_no: _entry(order, refunded_at.get(order.id)) for order in orders.values()}

    async def changed_since(self, since: datetime, older: int, limit: int) -> AsyncIterator[set[int]]:
        """Go through older pay orders that were paid, refunded or closed since, by business order number.

        Found by their transfers, and by an index on what is closed: nothing is written down for this when
        somebody pays.

        Args:
            since: when it changed at the earliest.
            older: only pay orders with ids up to this one.
            limit: rows that one statement reads.
        """
        row = await self._database.fetch_one(_SQL["transfer_before"], since - _TRANSFER_DISORDER)
        after = row["id"] if row else 0
        while (page := await self._database.fetch_one(
            _SQL["money_moved"], self._merchant_id, after, older, limit
        )) and page["last_id"] is not None:  # fmt: skip
            yield set(page["numbers"])
            after = page["last_id"]
        closed_at, after = since, 0
        while rows := await self._database.fetch(
            _SQL["closed_since"], self._merchant_id, closed_at, after, older, limit
        ):
            yield {row["biz_order_no"] for row in rows}
            closed_at, after = rows[-1]["closed_at"], rows[-1]["id"]

    async def waiting(self, numbers: Collection[int]) -> set[int]:
        """Return those business order numbers whose newest event still waits in the outbox."""
        keys = [(self._merchant_id, number) for number in numbers]
        orders = await store.find_by_biz_order_nos(self._database, keys)
        by_event = {order.event_id: order.biz_order_no for order in orders.values()}
        rows = await self._database.fetch(_SQL["waiting_events"], list(by_event))
        return {by_event[row["event_id"]] for row in rows}

    async def republish(
        self, pay_order_ids: Sequence[int], who: str | None, *, action: str = "repair", by: str = "reconcile"
    ) -> None:
        """Put the newest event of each into the outbox, under its own id.

        Args:
            pay_order_ids: those without an event yet are left out.
            who: the operator, who is written down; None: nobody, the schedule.
            action: what it is called there.
            by: how the pay orders were chosen.
        """
        await self._database.until_free(lambda: self._republish(pay_order_ids, who, action, by))

    async def _republish(self, pay_order_ids: Sequence[int], who: str | None, action: str, by: str) -> None:
        async with self._database.transaction() as tx:
            orders = await store.lock(tx, pay_order_ids)
            events = [
                order.event(kind, tx.now, new_traceparent())
                for order in orders.values()
                if (kind := newest_event(order)) is not None
            ]
            await self._outbox.append(tx, events)
            if who is not None:
                numbers = [order.biz_order_no for order in orders.values()]
                await note_action(tx, who, action, by, numbers)

    async def take_turn(self, name: str, period_seconds: float) -> bool:
        """Say whether this process is to do this work now; it is due again after the period."""
        return await self._database.fetch_one(_SQL["take_turn"], name, period_seconds) is not None

    async def note_found(self, name: str, found: int, listed: Sequence[Difference]) -> None:
        """Write down how much this work has found, and those of it that operators can list."""
        rows = [
            (one.number, one.pay.pay_order_id, one.kind.value)
            for one in listed
            if one.pay is not None and one.pay.pay_order_id is not None
        ]
        async with self._database.transaction() as tx:
            await tx.execute(_SQL["note_found"], name, found)
            await tx.execute(_SQL["forget_found"], self._merchant_id)
            if rows:
                await tx.execute(_SQL["list_found"], self._merchant_id, *map(list, zip(*rows, strict=True)))


async def found_last(pay: Database, name: str) -> int | None:
    """Return how much this work found last, whichever process did it; None if it never ended."""
    row = await pay.fetch_one(_SQL["found_last"], name)
    return row["found"] if row else None


def newest_event(order: PayOrder) -> str | None:
    """Return the type of the event that announces a pay order as it is now; None: there is none yet."""
    if order.refunded_amount:
        return PAY_REFUNDED
    return {PayStatus.TRADE_SUCCESS: PAY_SUCCESS, PayStatus.TRADE_CLOSED: PAY_CLOSED}.get(order.status)


def _standing(order: PayOrder) -> Standing:
    if order.refunded_amount == order.amount:
        return Standing.REFUNDED
    return _STANDINGS.get(order.status, Standing.OPEN)


def _entry(order: PayOrder, refunded_at: datetime | None = None) -> Entry:
    return Entry(
        number=order.biz_order_no,
        pay_order_id=order.id,
        user_id=order.payer_id,
        amount=order.amount,
        refunded=order.refunded_amount,
        currency=order.currency,
        status=order.status.name,
        standing=_standing(order),
        changed_at=refunded_at or order.succeeded_at or order.closed_at or order.created_at,
    )
