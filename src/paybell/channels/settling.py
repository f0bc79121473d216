"""Settling by hand what no channel can say any more: one person asks, another one confirms."""

import msgspec

from paybell.channels import returns, store
from paybell.channels.answers import Paid, Refused, Said
from paybell.channels.attempt import Attempt, AttemptState, Call
from paybell.channels.decision import decide
from paybell.channels.errors import (
    NothingAsked,
    NothingToSettle,
    ReceiptTaken,
    SecondPersonNeeded,
    SettlementDiffers,
    UnknownAttempt,
)
from paybell.channels.recorder import by_hand, enter, report
from paybell.messaging.outbox import Outbox
from paybell.pay import store as pay_orders
from paybell.pay.status import OPEN
from paybell.storage import ConstraintViolated, Database, Transaction, load_queries
from paybell.storage.operator_actions import note_action

_SQL = load_queries(__package__)
PAID, NOT_PAID, GIVEN_BACK = "paid", "not_paid", "given_back"


class Settlement(msgspec.Struct, frozen=True):
    """What one person says has become of an attempt, from the channel's own records.

    Attributes:
        outcome: ``paid`` or ``not_paid``; ``given_back`` of money that came twice or late and that the
            channel refused to give back.
        reference: the channel's number of the payment, or of what was given back; empty: it has none.
        note: where that was read.
        who: the person, by the ``sub`` of their token.
    """

    outcome: str
    reference: str
    note: str
    who: str


class Settling:
    """Takes what people say of attempts that are `MANUAL`, or whose channel refused to give back."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox

    async def settle(self, attempt_id: int, wanted: Settlement) -> tuple[Attempt, bool]:
        """Ask for a settlement, or confirm it as a second person; return it, and whether it is decided.

        Raises:
            UnknownAttempt, NothingToSettle, SecondPersonNeeded, SettlementDiffers, ReceiptTaken: nothing was
                changed.
            Busy: somebody else holds the order.
        """
        found = await store.find(self._database, attempt_id)
        if found is None:
            raise UnknownAttempt
        try:
            return await self._database.until_free(lambda: self._settle(found, wanted))
        except ConstraintViolated as error:
            if error.name != "one_receipt_settles_one_attempt":
                raise
            raise ReceiptTaken from error

    async def withdraw(self, attempt_id: int, who: str) -> Attempt:
        """Take back what was asked for and not confirmed; return the attempt, which waits as before.

        Raises:
            UnknownAttempt, NothingAsked: nothing was changed.
        """
        attempt = await store.find(self._database, attempt_id)
        if attempt is None:
            raise UnknownAttempt
        async with self._database.transaction() as tx:
            row = await tx.fetch_one(_SQL["lock_unconfirmed"], attempt_id)
            if row is None:
                raise NothingAsked
            await tx.execute(_SQL["withdraw_settlement"], row["id"], who, tx.now)
            what = _of(attempt, f"{row['outcome']}, asked by {row['asked_by']}")
            await note_action(tx, who, "withdraw settlement", what, [attempt_id])
        return attempt

    async def _settle(self, attempt: Attempt, wanted: Settlement) -> tuple[Attempt, bool]:
        number = attempt.pay_order_id
        async with self._database.transaction() as tx:
            order = (await pay_orders.lock(tx, [number]))[number]
            before = await store.lock_of_pay_order(tx, number)
            attempt = before[attempt.id]
            if wanted.outcome == GIVEN_BACK:
                return attempt, await self._give_back(tx, attempt, wanted)
            if attempt.state is not AttemptState.MANUAL:
                raise NothingToSettle
            if not await self._confirmed(tx, attempt, wanted):
                return attempt, False
            verdict = decide(
                attempt,
                Call.QUERY,
                _said(attempt, wanted),
                payable=order.status in OPEN,
                schedule=(),
                now=tx.now,
            )
            verdict = msgspec.structs.replace(verdict, attempt=by_hand(verdict.attempt))
            await enter(tx, self._outbox, verdict, order, before)
        report(verdict)
        return verdict.attempt, True

    async def _give_back(self, tx: Transaction, attempt: Attempt, wanted: Settlement) -> bool:
        owed = await returns.lock_refused(tx, attempt)
        if owed is None:
            raise NothingToSettle
        if not await self._confirmed(tx, attempt, wanted):
            return False
        await returns.settle_by_hand(tx, attempt, owed, wanted.reference)
        return True

    async def _confirmed(self, tx: Transaction, attempt: Attempt, wanted: Settlement) -> bool:
        """Write down what this person says; say whether it is the second one, who says the same."""
        asked = await tx.fetch_one(_SQL["lock_settlement"], attempt.id, wanted.outcome)
        what = _of(attempt, " · ".join(filter(None, (wanted.outcome, wanted.reference, wanted.note))))
        if asked is None:
            await tx.execute(
                _SQL["ask_settlement"],
                attempt.id,
                wanted.outcome,
                wanted.reference,
                wanted.note,
                wanted.who,
                tx.now,
            )
            await note_action(tx, wanted.who, "ask settlement", what, [attempt.id])
            return False
        if asked["asked_by"] == wanted.who:
            raise SecondPersonNeeded
        if (asked["outcome"], asked["reference"]) != (wanted.outcome, wanted.reference):
            raise SettlementDiffers
        await tx.execute(_SQL["confirm_settlement"], asked["id"], wanted.who, tx.now)
        await note_action(tx, wanted.who, "confirm settlement", what, [attempt.id])
        return True


def _said(attempt: Attempt, wanted: Settlement) -> Said:
    if wanted.outcome == NOT_PAID:
        return Refused("by_hand", wanted.note)
    reference = wanted.reference or f"by-hand-{attempt.id}"
    return Paid(attempt.amount, attempt.currency, reference, attempt.merchant)


def _of(attempt: Attempt, what: str) -> str:
    """Say for the audit what was done, and to which attempt of which payment."""
    return f"pay order {attempt.pay_order_id}, attempt {attempt.id}: {what}"
