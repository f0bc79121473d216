"""Where a channel's word becomes what is written: attempt, order, ledger and event in one transaction.

Answers to calls, answers to queries, notices and what two people decide all come this way, so that whatever
comes first, twice or late meets the same lock and the same table of moves.
"""

import random
from collections.abc import Mapping
from datetime import timedelta

import msgspec
import structlog

from paybell.channels import books, returns, store
from paybell.channels.answers import Said, storable
from paybell.channels.attempt import Attempt, Call
from paybell.channels.channel import Channel
from paybell.channels.decision import DEADLINE_MARGIN, Effect, Verdict, decide
from paybell.messaging.outbox import Outbox
from paybell.pay import store as pay_orders
from paybell.pay.model import PayOrder
from paybell.pay.status import OPEN
from paybell.storage import ConstraintViolated, Database, Transaction

log = structlog.get_logger()
# By how much the wait until the next query differs from the schedule, so that many do not come at once.
_JITTER = 0.2


class Recorder:
    """Writes what channels say."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        channels: Mapping[str, Channel],
        *,
        margin: timedelta = DEADLINE_MARGIN,
    ) -> None:
        """Work on the pay database; ``margin`` as in `decision.decide`."""
        self._margin = margin
        self._database = database
        self._outbox = outbox
        self._channels = channels
        self._random = random.Random()  # noqa: S311 - spreads queries, keeps no secret

    async def record(self, attempt: Attempt, call: Call, said: Said) -> tuple[Attempt, PayOrder]:
        """Write what a channel has said of an attempt; return both as they are now.

        Raises:
            Busy: somebody else holds the pay order for long; nothing was written.
        """
        try:
            return await self._database.until_free(lambda: self._record(attempt, call, said))
        except ConstraintViolated as error:
            if error.name != "one_receipt_settles_one_attempt":
                raise
            # One receipt for two attempts: whoever says so is wrong about one of them, and a person has to
            # look.
            log.error(  # noqa: TRY400 - no fault of ours
                "receipt_claimed_twice", attempt_id=attempt.id, channel=attempt.channel
            )
            async with self._database.transaction() as tx:
                await store.note_difference(tx, attempt, "its receipt is that of another attempt")
            return attempt, await self._order_of(attempt)

    async def _order_of(self, attempt: Attempt) -> PayOrder:
        order = await pay_orders.find(self._database, attempt.pay_order_id)
        assert order is not None, "an attempt names a pay order"
        return order

    async def _record(self, attempt: Attempt, call: Call, said: Said) -> tuple[Attempt, PayOrder]:
        number = attempt.pay_order_id
        async with self._database.transaction() as tx:
            order = (await pay_orders.lock(tx, [number]))[number]
            before = await store.lock_of_pay_order(tx, number)
            verdict = decide(
                before[attempt.id],
                call,
                storable(said),
                payable=order.status in OPEN,
                schedule=self._channels[attempt.channel].schedule,
                now=tx.now,
                margin=self._margin,
                jitter=self._random.uniform(1 - _JITTER, 1 + _JITTER),
            )
            order = await enter(tx, self._outbox, verdict, order, before)
        report(verdict)
        return verdict.attempt, order


async def enter(
    tx: Transaction, outbox: Outbox, verdict: Verdict, order: PayOrder, before: Mapping[int, Attempt]
) -> PayOrder:
    """Write a verdict; return the order as it is then.

    Args:
        tx: in which the order is locked.
        outbox: of the events.
        verdict: about one of the order's attempts.
        order: as it was.
        before: all its attempts as they were, by id.
    """
    decided = verdict.attempt
    if decided != before[decided.id]:
        await store.write(tx, decided)
    if verdict.alarm:
        await store.note_difference(tx, decided, verdict.alarm)
    if verdict.effect is Effect.PAY:
        order = await books.enter_payment(tx, outbox, decided, order)
    elif verdict.effect is Effect.GIVE_BACK:
        await books.enter_receipt(tx, decided)
        await returns.owe(tx, decided)
    await hold(tx, order, before, {**before, decided.id: decided})
    if verdict.effect is Effect.PAY:
        await store.make_windows_due(tx, order.id)
    return order


async def hold(
    tx: Transaction, order: PayOrder, before: Mapping[int, Attempt], after: Mapping[int, Attempt]
) -> None:
    """Let the order know whether anything is on its way for it."""
    was, now = _held(before), _held(after)
    if was == now:
        return
    live, moves_money = now
    if live:
        await pay_orders.hold(tx, order, moves_money=moves_money)
    else:
        await pay_orders.release(tx, order)


def _held(attempts: Mapping[int, Attempt]) -> tuple[bool, bool]:
    return any(one.live for one in attempts.values()), any(one.moves_money for one in attempts.values())


def report(verdict: Verdict) -> None:
    """Say what a person has to know of a verdict."""
    attempt = verdict.attempt
    names = {"attempt_id": attempt.id, "pay_order_id": attempt.pay_order_id, "channel": attempt.channel}
    if verdict.alarm:
        log.error("attempt_differs", **names, detail=verdict.alarm)
    elif verdict.effect is Effect.GIVE_BACK:
        log.warning("money_came_twice_or_late", **names, amount=attempt.amount, currency=attempt.currency)
    elif attempt.code == "schedule_used_up":
        log.error("attempt_needs_a_person", **names, detail=attempt.detail)


def by_hand(attempt: Attempt) -> Attempt:
    """Return an attempt that two people have decided, marked as such."""
    return msgspec.structs.replace(attempt, code="by_hand")
