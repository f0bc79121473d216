"""One payment's way through all parts, put together from what each has written down."""

import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import datetime

import msgspec

from paybell.channels.attempt import AttemptState
from paybell.ids import ID_MAX
from paybell.messaging.events import TRADE_CLOSED_QUEUE, TRADE_QUEUE, TRADE_REFUNDED_QUEUE, PaymentSucceeded
from paybell.operations.bodies import readable
from paybell.operations.timeline_views import (
    MessageView,
    Possible,
    Step,
    Timeline,
    TimelineAttempt,
    TimelineRefund,
    TimelineTransfer,
)
from paybell.pay.errors import PayOrderNotFound
from paybell.pay.model import RefundStatus
from paybell.pay.status import OPEN, PayStatus
from paybell.storage import Database, Record, load_queries
from paybell.trade import store
from paybell.trade.model import Order

_SQL = load_queries(__package__)
# A bare number, an event's id (pay order and version) or what the inbox knows a payment by.
_NAME = re.compile(r"(?:pay\.success:)?([0-9]{1,19})(?:-[0-9]{1,9}(?::[0-9a-f]+)?)?", re.ASCII)


# What is seen of attempts that have not paid the order.
_ENDS = {AttemptState.MANUAL, AttemptState.REFUSED, AttemptState.CLOSED, AttemptState.LATE_SUCCESS}


class Timelines:
    """Reads both databases; changes nothing."""

    def __init__(self, pay: Database, trade: Database) -> None:
        self._pay = pay
        self._trade = trade

    async def find(self, name: str) -> Timeline:
        """Return the way of a payment by any of its ids: pay order, order, event, refund, transfer.

        Raises:
            PayOrderNotFound: there is none.
        """
        match = _NAME.fullmatch(name.strip())
        if match is None or not 1 <= int(match[1]) <= ID_MAX:
            raise PayOrderNotFound
        row = await self._pay.fetch_one(_SQL["find_pay_order_ids"], int(match[1]))
        if row is None:
            raise PayOrderNotFound
        pay_order = await self._pay.fetch_one(_SQL["pay_side"], row["id"])
        if pay_order is None:
            raise PayOrderNotFound
        number = pay_order["biz_order_no"]
        orders = await store.find(self._trade, [number])
        return await self._put_together(pay_order, orders.get(number))

    async def _put_together(self, pay_order: Record, order: Order | None) -> Timeline:
        messages = [message async for message in self._messages(pay_order)]
        rows = await self._pay.fetch(_SQL["transfers_of"], pay_order["id"])
        transfers = [TimelineTransfer(**{**row, "id": str(row["id"])}) for row in rows]
        rows = await self._pay.fetch(_SQL["attempts_of"], pay_order["id"])
        attempts = [
            TimelineAttempt(**{**row, "id": str(row["id"]), "state": AttemptState(row["state"])})
            for row in rows
        ]
        refunds = [_refund(row) for row in await self._pay.fetch(_SQL["refunds_of"], pay_order["id"])]
        return Timeline(
            pay_order_id=str(pay_order["id"]),
            biz_order_no=str(pay_order["biz_order_no"]),
            payer_id=pay_order["payer_id"],
            merchant_id=pay_order["merchant_id"],
            amount=pay_order["amount"],
            currency=pay_order["currency"],
            refunded_amount=pay_order["refunded_amount"],
            pay_status=PayStatus(pay_order["status"]).name,
            order_status=order.status.value if order else None,
            steps=_measured(
                [*_steps(pay_order, order, messages), *_tried(attempts), *_given_back(refunds, transfers)]
            ),
            attempts=attempts,
            transfers=transfers,
            refunds=refunds,
            messages=messages,
            possible=_possible(pay_order),
        )

    async def _messages(self, pay_order: Record) -> AsyncIterator[MessageView]:
        paid = PaymentSucceeded(pay_order["biz_order_no"], "").event_id
        typed = f"{pay_order['id']}-%"
        waiting = await self._pay.fetch(_SQL["waiting_events"], str(pay_order["biz_order_no"]))
        received = await self._trade.fetch(
            _SQL["received"], [TRADE_QUEUE], [paid], [TRADE_CLOSED_QUEUE, TRADE_REFUNDED_QUEUE], typed
        )
        attempts = [row["attempt"] for row in received if row["attempt"]]
        batches = {row["attempt"]: row for row in await self._pay.fetch(_SQL["batches"], attempts)}
        for row in received:
            batch = batches.get(row["attempt"])
            yield MessageView(
                event_id=row["event_id"],
                state="applied",
                listener=row["listener"],
                published_at=batch["published_at"] if batch else None,
                confirmed_at=batch["confirmed_at"] if batch else None,
                received_at=row["received_at"],
                applied_at=row["applied_at"],
                # The message of a payment is its order's number, whoever sent it.
                body=str(pay_order["biz_order_no"]) if row["event_id"] == paid else None,
            )
        for row in await self._trade.fetch(_SQL["failed"], [paid], typed):
            yield MessageView(
                event_id=row["event_id"],
                state=row["state"],
                listener=row["listener"],
                failure_id=str(row["id"]),
                reason=row["reason"],
                attempts=row["attempts"],
                body=readable(row["body"]),
            )
        for row in waiting:
            yield MessageView(event_id=row["event_id"], state="outbox", body=readable(row["body"]))


def _refund(row: Record) -> TimelineRefund:
    return TimelineRefund(**{**row, "id": str(row["id"]), "status": RefundStatus(row["status"])})


def _possible(pay_order: Record) -> Possible:
    """Say what the pay order allows; what goes back by a channel is given back already, as it may arrive."""
    status = PayStatus(pay_order["status"])
    left = pay_order["amount"] - pay_order["refunded_amount"] - pay_order["on_its_way_back"]
    return Possible(
        refundable_amount=left if status is PayStatus.TRADE_SUCCESS else 0,
        may_close=status in OPEN,
        may_republish=status not in OPEN,
    )


def _steps(pay_order: Record, order: Order | None, messages: Sequence[MessageView]) -> Iterator[Step]:
    """Yield what happened in order, and what should happen next."""
    if order is not None:
        yield Step("order_created", "done", order.created_at)
    yield Step("pay_order_created", "done", pay_order["created_at"])
    if pay_order["succeeded_at"] is None:
        yield _end_without_payment(pay_order)
    else:
        yield Step("paid", "done", pay_order["succeeded_at"])
        yield _known("committed", pay_order["committed_at"])
        yield from _delivered(messages)


def _given_back(refunds: Sequence[TimelineRefund], transfers: Sequence[TimelineTransfer]) -> Iterator[Step]:
    """Yield what has gone back, or is to: what goes by a channel has gone once that says so."""
    for transfer in transfers:
        if transfer.kind == "return":
            yield Step("returned", "done", transfer.created_at)
    for one in refunds:
        if one.decided_at != one.created_at:
            yield Step("refund_begun", "done", one.created_at)
        if one.status is RefundStatus.PENDING:
            yield Step("refunded", "waiting")
        else:
            failed = one.status is RefundStatus.FAILED
            yield Step("refund_failed" if failed else "refunded", "done", one.decided_at)


def _tried(attempts: Sequence[TimelineAttempt]) -> Iterator[Step]:
    """Yield what was tried at channels, and what became of it but paying the order."""
    for one in attempts:
        yield Step("attempt_made", "done", one.created_at, channel=one.channel)
        if one.state in _ENDS:
            yield Step(f"attempt_{one.state.lower()}", "done", one.changed_at, channel=one.channel)


def _end_without_payment(pay_order: Record) -> Step:
    if pay_order["closed_at"] is not None:
        return Step("closed", "done", pay_order["closed_at"])
    return Step("paid", "waiting")


def _delivered(messages: Sequence[MessageView]) -> Iterator[Step]:
    """Yield how the payment's own message went."""
    delivered = next(
        (one for one in messages if one.listener == TRADE_QUEUE and one.state == "applied"), None
    )
    if delivered is not None:
        yield _known("published", delivered.published_at)
        yield _known("confirmed", delivered.confirmed_at)
        yield Step("delivered", "done", delivered.received_at)
        yield _known("applied", delivered.applied_at)
        return
    published = not any(one.state == "outbox" for one in messages)
    failed = any(one.state in ("retry", "dead") and one.listener == TRADE_QUEUE for one in messages)
    yield Step("published", "unknown" if published else "waiting")
    yield Step("confirmed", "unknown" if published else "waiting")
    yield Step("delivered", "unknown" if failed else "waiting")
    yield Step("applied", "waiting")


def _known(name: str, at: datetime | None) -> Step:
    return Step(name, "unknown" if at is None else "done", at)


def _measured(steps: Iterable[Step]) -> list[Step]:
    """Say of each step how long it took since the one before it of which the time is known.

    A broker may deliver before the publisher has its confirm.
    """
    measured, before = list[Step](), None
    for step in _in_time(steps):
        seconds = (step.at - before).total_seconds() if step.at and before else None
        measured.append(msgspec.structs.replace(step, since_before_seconds=seconds))
        before = step.at or before
    return measured


def _in_time(steps: Iterable[Step]) -> list[Step]:
    """Order steps by their times; one without a time stays behind the one before it."""
    dated, at = list[tuple[datetime | None, Step]](), None
    for step in steps:
        at = step.at or at
        dated.append((at, step))
    return [step for _, step in sorted(dated, key=lambda pair: pair[0].timestamp() if pair[0] else 0.0)]
