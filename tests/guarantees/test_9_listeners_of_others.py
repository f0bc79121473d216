"""Promise 9 for listeners that others write: nobody makes them act by forging an event."""

from collections.abc import Sequence
from uuid import uuid4

import msgspec
import pytest
from notebook import deliveries, event_members
from support import PaySide

from paybell.clock import SystemClock
from paybell.errors import Misconfigured
from paybell.ids import new_traceparent
from paybell.messaging import Binding, PaymentSucceeded, PayOrderEvent, Queue, listener
from paybell.messaging.events import PAY_EVENTS, SIGNATURE_HEADER
from paybell.messaging.failures import Chosen, FailureStore
from paybell.messaging.listener import Listener
from paybell.messaging.listener_runner import ListenerRunner
from paybell.messaging.local import LocalBroker
from paybell.messaging.signatures import EventKeys
from paybell.messaging.wire import Wire
from paybell.storage import Database, Query, Transaction
from paybell.telemetry.observers import Observer
from paybell.testing import FrozenClock
from paybell.tokens import Principal


async def test_a_forged_event_neither_counts_nor_silences_the_true_one_with_its_id(
    pay_database: Database, trade_database: Database
) -> None:
    """By default, without a word of the listener's author; the ids of our events are easy to guess."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000)
    order = await side.order(5001, "7", 100)
    await side.attempt(order.id, "7")
    heard: list[tuple[str, int]] = []

    @listener(Binding(Queue("points"), PAY_EVENTS, "pay.success"))
    async def add_points(events: Sequence[PayOrderEvent], tx: Transaction) -> None:
        del tx
        heard.extend((event.id, event.data.amount) for event in events)

    (event,) = await side.outbox.claim(uuid4(), 60, 10)
    keys = EventKeys("a:" + "k" * 32)
    _, typed = Wire(keys, "text/x-json").messages(event, "1")
    forged_body = typed.body.replace(b'"amount":100', b'"amount":99900')
    assert forged_body != typed.body
    thief = EventKeys("a:" + "?" * 32)
    (true,) = deliveries(typed.body, headers=typed.headers)
    forged = [
        *deliveries(forged_body),
        *deliveries(forged_body, headers=typed.headers),
        *deliveries(forged_body, headers={SIGNATURE_HEADER: thief.sign_event(forged_body)}),
    ]
    runner: ListenerRunner[PayOrderEvent] = ListenerRunner(
        add_points, LocalBroker(), trade_database, FrozenClock(), Observer(), batch_max=10, keys=keys
    )

    await runner.apply(forged)  # before it
    await runner.apply([forged[0], true, forged[1]])  # with it
    await runner.apply([true])

    assert heard == [(event.event_id, 100)]
    rows = await trade_database.fetch(Query("SELECT DISTINCT state, reason FROM failed_deliveries"))
    assert [tuple(row) for row in rows] == [("dead", "not_signed")]


async def test_a_true_event_sent_on_as_another_kind_counts_for_nothing(
    pay_database: Database, trade_database: Database
) -> None:
    """Who may publish chooses the routing key; the type is signed."""
    side = PaySide(pay_database)
    order = await side.order(5001, "7", 100)
    await side.pay.close(order.id, Principal("shop", frozenset(), "1"), new_traceparent())
    heard: list[str] = []

    @listener(Binding(Queue("points"), PAY_EVENTS, "pay.success"))
    async def add_points(events: Sequence[PayOrderEvent], tx: Transaction) -> None:
        del tx
        heard.extend(event.type for event in events)

    @listener(Binding(Queue("all"), PAY_EVENTS, "pay.#"))
    async def note(events: Sequence[PayOrderEvent], tx: Transaction) -> None:
        del tx
        heard.extend(event.type for event in events)

    (event,) = await side.outbox.claim(uuid4(), 60, 10)
    keys = EventKeys("a:" + "k" * 32)
    (closed,) = Wire(keys, "text/x-json").messages(event, "1")
    sent_on = deliveries(closed.body, headers=closed.headers)
    cases: list[tuple[Listener[PayOrderEvent], list[str]]] = [(add_points, []), (note, ["pay.closed"])]
    for one, wanted in cases:
        runner = ListenerRunner(
            one, LocalBroker(), trade_database, FrozenClock(), Observer(), batch_max=10, keys=keys
        )
        await runner.apply(sent_on)
        assert heard == wanted
    assert await trade_database.fetch(Query("SELECT 1 FROM failed_deliveries")) == []


async def test_what_another_key_has_signed_can_be_replayed_once_the_listener_has_it(
    trade_database: Database,
) -> None:
    """Given the keys in the wrong order, nothing is lost."""
    heard: list[str] = []

    @listener(Binding(Queue("points"), PAY_EVENTS, "pay.success"))
    async def add_points(events: Sequence[PayOrderEvent], tx: Transaction) -> None:
        del tx
        heard.extend(event.id for event in events)

    old, new = "a:" + "k" * 32, "b:" + "l" * 32
    body = msgspec.json.encode(event_members("1001-2"))
    true = deliveries(body, headers={SIGNATURE_HEADER: EventKeys(new).sign_event(body)})
    clock = SystemClock()

    def runner(ring: str) -> ListenerRunner[PayOrderEvent]:
        broker, keys = LocalBroker(), EventKeys(ring)
        return ListenerRunner(add_points, broker, trade_database, clock, Observer(), batch_max=10, keys=keys)

    await runner(old).apply(true)
    assert await FailureStore(trade_database).replay(Chosen(reason="not_signed"), "test") == 1
    assert await runner(f"{new},{old}").retry_once() == 1

    assert heard == ["1001-2"]
    assert await FailureStore(trade_database).counts() == {"retry": 0, "dead": 0}


async def test_nobody_believes_a_bare_number_without_saying_so() -> None:
    """It proves nothing, and its signature only together with one's own order."""

    async def add_points(events: Sequence[PaymentSucceeded], tx: Transaction) -> None:
        del events, tx

    with pytest.raises(TypeError, match="would believe any number"):
        listener(Binding(Queue("points"), PAY_EVENTS, "pay.success"))(add_points)


async def test_a_listener_without_a_key_does_not_start(
    trade_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PAYBELL_EVENT_KEYS", raising=False)
    monkeypatch.delenv("PAYBELL_JWT_SECRET", raising=False)

    @listener(Binding(Queue("points"), PAY_EVENTS, "pay.success"))
    async def add_points(events: Sequence[PayOrderEvent], tx: Transaction) -> None:
        del events, tx

    with pytest.raises(Misconfigured, match="Set PAYBELL_EVENT_KEYS to the keys"):
        ListenerRunner(add_points, LocalBroker(), trade_database, FrozenClock(), Observer(), batch_max=10)
