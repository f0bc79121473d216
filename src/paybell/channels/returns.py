"""Money on its way back through a channel: refunds, and what came twice or late.

A row with a due time stands for each, written in the transaction that decides it. The channel knows it by
the row's number, so that asking twice is asking once; only its certain word ends it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec
import structlog

from paybell.channels import books, store
from paybell.channels.answers import (
    NotFound,
    NotSent,
    Paid,
    QuerySaid,
    RefundAccepted,
    RefundDone,
    RefundFailed,
    RefundSaid,
    Unknown,
)
from paybell.channels.attempt import Attempt, charge_of
from paybell.channels.channel import Channel, Return
from paybell.channels.circuit import Circuit
from paybell.channels.errors import ChannelUnavailable
from paybell.messaging.events import PAY_REFUNDED
from paybell.messaging.outbox import Outbox
from paybell.pay import store as pay_orders
from paybell.pay.model import PayOrder
from paybell.storage import Database, Record, Transaction, load_queries
from paybell.wallet import ledger
from paybell.wallet.ledger import Transfer, TransferKind

log = structlog.get_logger()
_SQL = load_queries(__package__)
# Between tries, in seconds; the last one repeats, because a refund that is accepted takes its channel days
# at times.
RETURN_SCHEDULE = (2.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 86_400.0)
RETURNS_MAX = 16
_UNCONFIRMED = "unconfirmed"


class ReturnState(StrEnum):
    """Where money on its way back stands."""

    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class Owed(msgspec.Struct, frozen=True, gc=False):
    """Money on its way back as it is stored; ``refund_id`` is None for what came twice or late."""

    id: int
    attempt_id: int
    refund_id: int | None
    amount: int
    state: ReturnState
    created_at: datetime
    changed_at: datetime
    next_try_at: datetime | None
    tries: int
    transaction_id: str
    code: str
    detail: str
    traceparent: str


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """Nothing was sent back: this is what the channel said instead of that it was paid."""

    said: QuerySaid


def decide_return(
    owed: Owed, said: RefundSaid | Unconfirmed, now: datetime, schedule: tuple[float, ...] = RETURN_SCHEDULE
) -> Owed:
    """Decide what a channel's word makes of money on its way back: only a certain one ends it."""
    if owed.state is not ReturnState.PENDING:
        return owed
    wait = schedule[min(owed.tries, len(schedule) - 1)]
    tried = msgspec.structs.replace(
        owed, tries=owed.tries + 1, next_try_at=now + timedelta(seconds=wait), code="", detail=""
    )
    match said:
        case RefundDone(transaction_id):
            return msgspec.structs.replace(
                tried,
                state=ReturnState.SUCCEEDED,
                changed_at=now,
                next_try_at=None,
                transaction_id=transaction_id,
            )
        case RefundFailed(code, words):
            return msgspec.structs.replace(
                tried, state=ReturnState.FAILED, changed_at=now, next_try_at=None, code=code, detail=words
            )
    code, detail = _of_waiting(said)
    return msgspec.structs.replace(tried, code=code, detail=detail)


def _of_waiting(said: RefundAccepted | NotFound | Unknown | NotSent | Unconfirmed) -> tuple[str, str]:
    """Return the code and the detail of money that is still on its way."""
    match said:
        case RefundAccepted():
            return "accepted", ""
        case NotFound():
            return "not_found", ""
        case Unknown(reason) | NotSent(reason):
            return "", reason
        case Unconfirmed(instead):
            return _UNCONFIRMED, f"the channel does not confirm the payment: {type(instead).__name__}"


async def owe(tx: Transaction, attempt: Attempt) -> None:
    """Write down that what an attempt brought twice or late goes back, under the attempt's number."""
    await tx.execute(
        _SQL["insert_refund"],
        attempt.id,
        attempt.id,
        None,
        attempt.amount,
        tx.now,
        tx.now,
        attempt.traceparent,
    )


async def lock_refused(tx: Transaction, attempt: Attempt) -> Owed | None:
    """Return what an attempt of a locked order brought twice or late and its channel refused to give back."""
    row = await tx.fetch_one(_SQL["lock_refund"], attempt.id)
    owed = None if row is None else _owed(row)
    return owed if owed and owed.refund_id is None and owed.state is ReturnState.FAILED else None


async def settle_by_hand(tx: Transaction, attempt: Attempt, owed: Owed, reference: str) -> None:
    """Enter that people have given back what the channel refused to."""
    given = msgspec.structs.replace(
        owed,
        state=ReturnState.SUCCEEDED,
        changed_at=tx.now,
        transaction_id=reference,
        code="by_hand",
        detail=" ".join(filter(None, ("the channel had refused:", owed.code, owed.detail))),
    )
    await _write(tx, given)
    await books.enter_return(tx, attempt)


class ReturnSender:
    """Takes up what one channel has to give back; any number may run."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        channel: Channel,
        circuit: Circuit,
        schedule: tuple[float, ...] = RETURN_SCHEDULE,
    ) -> None:
        """Work on the pay database; ``schedule``: between tries, in seconds."""
        self._schedule = schedule
        self._database = database
        self._outbox = outbox
        self._channel = channel
        self._circuit = circuit

    async def run_once(self) -> int:
        """Send one bounded batch; return how many were due."""
        if self._circuit.away:
            return 0
        async with self._database.transaction() as tx:
            rows = await tx.fetch(
                _SQL["take_due_refunds"], self._channel.name, tx.now, store.LEASE_SECONDS, RETURNS_MAX
            )
        for row in rows:
            await self._send(_owed(row))
        return len(rows)

    async def _send(self, owed: Owed) -> None:
        attempt = await store.find(self._database, owed.attempt_id)
        assert attempt is not None, "what is owed names an attempt"
        order = await pay_orders.find(self._database, attempt.pay_order_id)
        assert order is not None, "an attempt names a pay order"
        back = Return(
            str(owed.id), charge_of(attempt, order), attempt.transaction_id or "", owed.amount, order.subject
        )
        try:
            async with self._circuit.call():
                said = await self._ask(owed, back)
                self._circuit.note(said.said if isinstance(said, Unconfirmed) else said)
        except ChannelUnavailable:
            return
        await self.record(owed.id, order.id, said)

    async def _ask(self, owed: Owed, back: Return) -> RefundSaid | Unconfirmed:
        if owed.code == "accepted":
            return await self._channel.query_refund(back)
        if owed.refund_id is None and (owed.tries == 0 or owed.code == _UNCONFIRMED):
            # What is given back unasked for is confirmed by its channel first, whoever has told us of it. Not
            # once it may have gone back: a channel may call it refunded then, and no longer paid.
            said = await self._channel.query(back.charge)
            if not isinstance(said, Paid):
                return Unconfirmed(said)
        return await self._channel.refund(back)

    async def record(self, owed_id: int, pay_order_id: int, said: RefundSaid | Unconfirmed) -> None:
        """Write what the channel has said.

        Raises:
            Busy: somebody else holds the pay order for long; nothing was written.
        """
        await self._database.until_free(lambda: self._record(owed_id, pay_order_id, said))

    async def _record(self, owed_id: int, pay_order_id: int, said: RefundSaid | Unconfirmed) -> None:
        async with self._database.transaction() as tx:
            order = (await pay_orders.lock(tx, [pay_order_id]))[pay_order_id]
            attempts = await store.lock_of_pay_order(tx, pay_order_id)
            row = await tx.fetch_one(_SQL["lock_refund"], owed_id)
            assert row is not None, "what is owed is never removed"
            owed = _owed(row)
            decided = decide_return(owed, said, tx.now, self._schedule)
            if decided == owed:
                return
            await _write(tx, decided)
            await self._enter(tx, decided, attempts[owed.attempt_id], order)
        if decided.state is ReturnState.FAILED:
            log.error("refund_failed", refund_id=owed_id, channel=self._channel.name, code=decided.code)

    async def _enter(self, tx: Transaction, owed: Owed, attempt: Attempt, order: PayOrder) -> None:
        if owed.state is ReturnState.SUCCEEDED:
            if owed.refund_id is None:
                await books.enter_return(tx, attempt)
                return
            refunded = order.refund(owed.amount)
            await pay_orders.mark_refunded(tx, refunded)
            await self._outbox.append(tx, [refunded.event(PAY_REFUNDED, tx.now, owed.traceparent)])
        elif owed.state is ReturnState.FAILED and owed.refund_id is not None:
            clearing = await books.clearing_account(tx, attempt.channel, attempt.currency)
            back = Transfer(
                TransferKind.REFUND_FAILED, str(owed.id), clearing, order.payee_account, owed.amount
            )
            await ledger.post(tx, [back])


async def _write(tx: Transaction, owed: Owed) -> None:
    await tx.execute(
        _SQL["write_refund"],
        owed.id,
        owed.state.value,
        owed.changed_at,
        owed.next_try_at,
        owed.tries,
        store.plain(owed.transaction_id, 255),
        store.plain(owed.code, 255),
        store.plain(owed.detail, 1024),
    )


def _owed(row: Record) -> Owed:
    values: Mapping[str, object] = dict(row)
    return msgspec.convert(values, Owed)
