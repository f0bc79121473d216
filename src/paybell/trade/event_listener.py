"""What the order service learns of pay orders, in whatever order it comes.

Each state of a pay order carries its version and all that was before it, so the newest one is enough:
an order that knows version 3 does not go back to version 2.
"""

from collections.abc import Iterable, Sequence
from functools import partial

from paybell.messaging.broker import Binding
from paybell.messaging.events import PayOrderData, SignedEvent
from paybell.messaging.listener import Listener, Rejected, Verdicts, listener
from paybell.messaging.signatures import EventKeys
from paybell.storage import Transaction
from paybell.trade import store
from paybell.trade.errors import PayServiceUnavailable
from paybell.trade.pay_client import PayClient
from paybell.trade.watch import Changed, nobody


async def apply_states(tx: Transaction, states: Iterable[PayOrderData]) -> None:
    """Bring orders up to what pay says of them; what concerns none of ours is left alone."""
    newest: dict[int, PayOrderData] = {}
    for state in sorted(states, key=lambda data: data.version):
        newest[int(state.biz_order_no)] = state
    orders = await store.lock(tx, newest)
    after = [order.with_pay_order(newest[number], tx.now) for number, order in orders.items()]
    await store.write_changed(tx, [order for order in after if order != orders[order.id]])


class EventProof:
    """Makes sure of typed events: by our signature, and without one by asking pay."""

    def __init__(self, merchant_id: str, keys: EventKeys, pay: PayClient) -> None:
        self._merchant_id = merchant_id
        self._keys = keys
        self._pay = pay

    def is_ours(self, event: SignedEvent) -> bool:
        """Say whether it is about our merchant; the exchange carries every merchant's events."""
        return event.event.data.merchant_id == self._merchant_id

    async def __call__(self, events: Sequence[SignedEvent]) -> Verdicts:
        """Answer for the events that are not proven: rejected, or to be tried again later."""
        verifies = self._keys.verifies_event
        proven = {event.event_id for event in events if verifies(event.signature, event.body)}
        asked = [event for event in events if event.event_id not in proven]
        if not asked:
            return {}
        try:
            states = await self._pay.states_of({event.biz_order_no for event in asked})
        except PayServiceUnavailable as error:
            return dict.fromkeys((event.event_id for event in asked), error)
        return {
            event.event_id: Rejected(
                event.event_id, "not_confirmed", "unsigned, and pay does not say the same"
            )
            for event in asked
            if states.get(event.biz_order_no) != event.event.data
        }


def pay_order_listener(
    binding: Binding, proof: EventProof, changed: Changed = nobody
) -> Listener[SignedEvent]:
    """Return a listener that brings orders up to what pay says, and says which may have ``changed``."""

    @listener(binding, screen=proof, concerns=proof.is_ours)
    async def apply_pay_order_events(events: Sequence[SignedEvent], tx: Transaction) -> None:
        await apply_states(tx, [event.event.data for event in events])
        tx.after_commit(partial(changed, [event.biz_order_no for event in events]))

    return apply_pay_order_events
