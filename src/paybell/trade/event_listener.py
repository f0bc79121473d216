"""What the order service hears of pay orders, in whatever order it comes.

Each state of a pay order carries its version and all that was before it, so the newest one is enough:
an order that has heard version 3 does not go back to version 2.
"""

from collections.abc import Iterable, Sequence
from functools import partial

from paybell.messaging.broker import Binding
from paybell.messaging.events import PayOrderData, SignedEvent, Signer
from paybell.messaging.listener import Listener, Rejected, Verdicts, listener
from paybell.storage import Transaction
from paybell.trade import store
from paybell.trade.errors import PayServiceUnavailable
from paybell.trade.pay_client import PayClient
from paybell.trade.watch import Changed, nobody


async def hear(tx: Transaction, said: Iterable[PayOrderData]) -> None:
    """Apply what pay says of orders; what concerns none of ours is left alone."""
    newest: dict[int, PayOrderData] = {}
    for one in sorted(said, key=lambda data: data.version):
        newest[int(one.biz_order_no)] = one
    orders = await store.lock(tx, newest)
    heard = [order.hear(newest[number], tx.now) for number, order in orders.items()]
    await store.write_heard(tx, [after for after in heard if after != orders[after.id]])


class EventProof:
    """Makes sure of typed events: by our signature, and without one by asking pay.

    The exchange carries every merchant's events; those of others pass, and `EventProof.ours` drops them.
    """

    def __init__(self, merchant_id: str, signer: Signer, pay: PayClient) -> None:
        """Take who we are, the key of the signatures and somebody to ask."""
        self._merchant_id = merchant_id
        self._signer = signer
        self._pay = pay

    def ours(self, events: Iterable[SignedEvent]) -> list[SignedEvent]:
        """Return the events of our merchant."""
        return [one for one in events if one.event.data.merchant_id == self._merchant_id]

    async def __call__(self, events: Sequence[SignedEvent]) -> Verdicts:
        """Answer for the events that are not proven: rejected, or to be tried again later."""
        asked = [one for one in self.ours(events) if not self._signer.verifies_event(one)]
        if not asked:
            return {}
        try:
            states = await self._pay.states_of({one.biz_order_no for one in asked})
        except PayServiceUnavailable as error:
            return dict.fromkeys((one.event_id for one in asked), error)
        return {
            one.event_id: Rejected(one.event_id, "not_confirmed", "unsigned, and pay does not say the same")
            for one in asked
            if states.get(one.biz_order_no) != one.event.data
        }


def pay_order_listener(
    binding: Binding, proof: EventProof, changed: Changed = nobody
) -> Listener[SignedEvent]:
    """Return a listener that brings orders up to what pay says, and says which may have ``changed``."""

    @listener(binding, screen=proof)
    async def hear_of_pay_orders(events: Sequence[SignedEvent], tx: Transaction) -> None:
        ours = proof.ours(events)
        await hear(tx, [one.event.data for one in ours])
        tx.after_commit(partial(changed, [one.biz_order_no for one in ours]))

    return hear_of_pay_orders
