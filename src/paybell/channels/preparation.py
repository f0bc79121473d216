"""How an attempt begins: prepared under its order's lock, and committed before anything is sent."""

from datetime import datetime, timedelta

from paybell.channels import store
from paybell.channels.attempt import Attempt, AttemptState
from paybell.channels.channel import Channel
from paybell.channels.errors import ChannelNotOffered
from paybell.channels.methods import end_of_attempt
from paybell.channels.recorder import hold
from paybell.errors import AttemptNotFinal
from paybell.ids import Ids
from paybell.pay import store as pay_orders
from paybell.pay.errors import NotThePayer, PayOrderNotFound
from paybell.pay.model import PayOrder
from paybell.storage import Database

# More tries of one order are nobody's who wants to pay.
ATTEMPTS_MAX = 100


class Preparation:
    """Prepares attempts, at most one that is live for each order and channel."""

    def __init__(self, database: Database, ids: Ids, window_margin: timedelta) -> None:
        """Work on the pay database; a window ends so much before its order."""
        self._database, self._ids, self._margin = database, ids, window_margin

    async def prepare(
        self, pay_order_id: int, payer_id: str, channel: Channel, traceparent: str
    ) -> tuple[Attempt, PayOrder, bool]:
        """Return an attempt, its order, and whether it was made just now; it may be tried again while `Busy`.

        Raises:
            PayOrderNotFound, NotThePayer, AlreadyPaid, PayOrderClosed: in this order of precedence.
            AttemptNotFinal: another channel may be moving money for this order.
            ChannelNotOffered: not for this amount, currency or time.
        """
        async with self._database.transaction() as tx:
            order = (await pay_orders.lock(tx, [pay_order_id])).get(pay_order_id)
            if order is None:
                raise PayOrderNotFound
            if order.payer_id != payer_id:
                raise NotThePayer
            if refusal := order.refusal(tx.now):
                raise refusal
            before = await store.lock_of_pay_order(tx, pay_order_id)
            if len(before) >= ATTEMPTS_MAX:
                raise ChannelNotOffered(f"This order has had {ATTEMPTS_MAX} attempts; create a new order.")
            for other in before.values():
                if other.live and other.channel == channel.name:
                    return other, order, False
                if other.moves_money:
                    raise AttemptNotFinal
            end = end_of_attempt(order, channel, tx.now, self._margin)
            if end is None:
                raise ChannelNotOffered
            prepared = new_attempt(
                self._ids.next(), order, channel, now=tx.now, expires_at=end, traceparent=traceparent
            )
            await store.insert(tx, prepared)
            await hold(tx, order, before, {**before, prepared.id: prepared})
        return prepared, order, True


def new_attempt(
    attempt_id: int,
    order: PayOrder,
    channel: Channel,
    *,
    now: datetime,
    expires_at: datetime,
    traceparent: str,
) -> Attempt:
    """Return a new attempt for an order that may be paid."""
    return Attempt(
        id=attempt_id,
        pay_order_id=order.id,
        channel=channel.name,
        kind=channel.kind,
        state=AttemptState.PREPARED,
        amount=order.amount,
        currency=order.currency,
        merchant=channel.merchant,
        created_at=now,
        expires_at=expires_at,
        changed_at=now,
        next_query_at=now + timedelta(seconds=store.LEASE_SECONDS),
        queries=0,
        reference="",
        qr_code="",
        redirect_url="",
        transaction_id=None,
        code="",
        detail="",
        traceparent=traceparent,
    )
