"""Promise 3: an event is never lost, whatever dies."""

import asyncio
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Literal
from uuid import uuid4

import pytest
from amqp import rabbit, stranger
from faults import cutting_proxy
from notebook import BINDING, Notebook, notebook
from relaying import (
    Heard,
    MeanwhileBroker,
    Relays,
    Said,
    expire_leases,
    listening,
    pay,
    pending,
    relay,
    trade_listener,
)
from shop import shop
from support import PaySide, connected, seeded, until

from paybell.clock import SystemClock
from paybell.errors import BrokerUnavailable, DatabaseUnavailable
from paybell.ids import new_traceparent
from paybell.messaging.broker import Broker, Confirm, Topology
from paybell.messaging.events import PAY_CLOSED, PAY_DIRECT, PAY_EVENTS, PAY_SUCCESS, topology
from paybell.messaging.handover import Handover
from paybell.messaging.local import LocalBroker
from paybell.messaging.outbox import Outbox, Publication
from paybell.storage import Database
from paybell.telemetry.observers import RelayObserver
from paybell.testing.rabbitmq_install import ensure_installed
from paybell.testing.rabbitmq_node import RabbitmqNode

# The listener of these tests alone, because the local broker confirms when every queue is settled.
NOTEBOOK = Topology([PAY_DIRECT, PAY_EVENTS], [BINDING])


@pytest.fixture(params=["local", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[MeanwhileBroker]:
    """Each broker in turn, knowing nothing yet; faults are told to it."""
    if request.param == "local":
        yield MeanwhileBroker(LocalBroker())
        return
    url = request.getfixturevalue("rabbitmq_url")
    names = Topology(NOTEBOOK.exchanges, [BINDING, *topology().bindings])
    with stranger(url) as other:
        other.forget(names)
    async with rabbit(url) as working:
        yield MeanwhileBroker(working)
    with stranger(url) as other:
        other.forget(names)


@pytest.fixture
async def book(trade_url: str, broker: MeanwhileBroker) -> AsyncIterator[Notebook]:
    """A listener at work that writes down every payment it hears of, and could write it twice."""
    async with notebook(trade_url, SystemClock(), broker) as book:
        await broker.declare(NOTEBOOK)
        async with listening(book.runner):
            yield book


def notebook_relay(outbox: Outbox, broker: Broker, observer: RelayObserver | None = None) -> Relays:
    """Make a relay for that listener."""
    return relay(outbox, broker, observer, declares=NOTEBOOK)


async def wrote(book: Notebook, *numbers: int) -> None:
    """Wait until a listener has written these down, each of them once."""

    async def written() -> bool:
        return set(await book.written()) >= set(numbers)

    await until(written)
    assert await book.written() == sorted(numbers)


async def drained(side: PaySide, relay: Relays) -> None:
    """Run a relay until nothing is left."""

    async def empty() -> bool:
        await relay.run_once()
        await relay.retry_once()
        return await pending(side) == 0

    await until(empty)


# The relay or its process dies -------------------------------------------------------------------


async def test_a_crash_after_the_commit_and_before_publishing_loses_nothing(
    pay_database: Database, trade_database: Database, broker: MeanwhileBroker
) -> None:
    """The event stands in the database with the payment; whoever relays next tells of it."""
    async with shop(pay_database, trade_database) as world:
        await world.pay.fund("7", 1_000)
        order = await world.order(5001, "7", 100)
        assert order.pay_order_id
        await world.pay.attempt(order.pay_order_id, "7")  # and the process dies here

        next_process = relay(Outbox(pay_database), broker)
        await broker.declare(topology())
        async with listening(trade_listener(world, broker)):
            assert await next_process.run_once() == 1

            async def marked() -> bool:
                return await world.statuses() == {5001: "PAID"}

            await until(marked)
        assert await pending(world.pay) == 0


async def test_a_crash_after_publishing_tells_again_and_pays_the_order_once(
    pay_database: Database, pay_url: str, trade_database: Database, broker: MeanwhileBroker
) -> None:
    """Between the confirm and the removal of the row lies nothing that could be atomic."""
    heard = Heard()
    async with shop(pay_database, trade_database) as world:
        await world.pay.fund("7", 1_000)
        order = await world.order(5001, "7", 100)
        assert order.pay_order_id
        await world.pay.attempt(order.pay_order_id, "7")
        await broker.declare(topology())
        async with listening(trade_listener(world, broker, heard)):

            async def die() -> None:
                raise asyncio.CancelledError

            broker.meanwhile = die
            with pytest.raises(asyncio.CancelledError):
                await relay(world.pay.outbox, broker).run_once()
            assert await pending(world.pay) == 1
            await expire_leases(pay_url)
            assert await relay(world.pay.outbox, broker).run_once() == 1

            async def twice() -> bool:
                return (heard.events, heard.duplicates) == (1, 1)

            await until(twice)
        assert await world.statuses() == {5001: "PAID"}
        assert await world.kept() == []
        assert await pending(world.pay) == 0


async def test_a_dead_relays_events_are_taken_over_when_its_lease_ends(
    side: PaySide, book: Notebook, broker: MeanwhileBroker
) -> None:
    """Not before, so that two relays do not send the same; and without anybody noticing the death."""
    await pay(side, 5001, 5002)
    other = notebook_relay(side.outbox, broker)
    loop = asyncio.get_running_loop()
    claimed = loop.time()
    assert len(await side.outbox.claim(uuid4(), 0.5, 500)) == 2

    assert await other.run_once() == 0

    async def taken() -> bool:
        return await other.run_once() == 2

    await until(taken)
    assert loop.time() - claimed > 0.4
    await wrote(book, 5001, 5002)


async def test_a_relay_that_was_too_slow_removes_nothing_and_says_so(
    side: PaySide, pay_url: str, book: Notebook, broker: MeanwhileBroker
) -> None:
    """Its lease ran out and another holds the events: they stay until that one has its confirms."""
    await pay(side, 5001, 5002)
    said, new_owner = Said(), uuid4()

    async def another_takes_over() -> None:
        await expire_leases(pay_url)
        assert len(await side.outbox.claim(new_owner, 30, 500)) == 2

    broker.meanwhile = another_takes_over
    assert await notebook_relay(side.outbox, broker, said).run_once() == 2

    assert said.lease_lost == 2
    async with connected(pay_url) as rows:
        held = await rows.fetch(
            "SELECT id FROM outbox WHERE lease_token = $1 AND leased_until > now()", new_owner
        )
    assert len(held) == 2
    now = SystemClock().now()
    held_ids = [row["id"] for row in held]
    assert await side.outbox.finish(held_ids, new_owner, Publication("1", now, now)) == 2
    await wrote(book, 5001, 5002)


async def test_a_relay_that_was_too_slow_gives_nothing_free(
    side: PaySide, pay_url: str, broker: MeanwhileBroker
) -> None:
    """Also when its confirms did not come."""
    await pay(side, 5001)
    new_owner = uuid4()

    async def another_takes_over() -> None:
        await expire_leases(pay_url)
        await side.outbox.claim(new_owner, 30, 500)

    for answer in (Confirm.UNKNOWN, Confirm.RETURNED):
        broker.answer, broker.meanwhile = answer, another_takes_over
        assert await relay(side.outbox, broker).run_once() == 1
        assert await relay(side.outbox, broker).run_once() == 0
        await expire_leases(pay_url)


async def test_three_relays_at_once_lose_nothing_and_send_nothing_twice(
    side: PaySide, book: Notebook, broker: MeanwhileBroker
) -> None:
    """Each event is claimed by one of them."""
    numbers = range(5001, 5301)
    await pay(side, *numbers)
    relays = [relay(Outbox(side.database), broker, batch_max=17, declares=NOTEBOOK) for _ in range(3)]

    async def run(one: Relays) -> None:
        while await one.run_once():
            pass

    await asyncio.gather(*map(run, relays))

    assert await pending(side) == 0
    assert broker.published == 2 * len(numbers)
    await wrote(book, *numbers)


async def test_transactions_that_commit_in_reverse_order_are_both_told_of(
    side: PaySide, book: Notebook, broker: MeanwhileBroker
) -> None:
    """A relay that remembered how far it has come would pass over the lower id for good."""
    early, late = [await side.order(number, "7", 100) for number in (5001, 5002)]
    running = notebook_relay(side.outbox, broker)

    async with side.database.transaction() as slow:
        await side.outbox.append(slow, [early.event(PAY_SUCCESS, slow.now, new_traceparent())])
        async with side.database.transaction() as quick:
            await side.outbox.append(quick, [late.event(PAY_SUCCESS, quick.now, new_traceparent())])
        assert await running.run_once() == 1
        await wrote(book, 5002)
    assert await running.run_once() == 1
    await wrote(book, 5001, 5002)


# What the broker says ----------------------------------------------------------------------------


async def test_an_event_whose_confirm_was_lost_is_published_again(
    side: PaySide, book: Notebook, broker: MeanwhileBroker
) -> None:
    """It arrived, but nobody knows."""
    await pay(side, 5001)
    running = notebook_relay(side.outbox, broker)
    broker.lose_confirms = True
    assert await running.run_once() == 1
    assert await running.run_once() == 1
    assert await pending(side) == 1
    broker.lose_confirms = False
    assert await running.run_once() == 1

    assert await pending(side) == 0
    assert broker.published == 3 * 2
    await wrote(book, 5001)


async def test_a_broker_that_is_down_uses_up_nothing(
    side: PaySide, pay_url: str, book: Notebook, broker: MeanwhileBroker
) -> None:
    """A hundred failures later every row is as it was, and all of it goes out at once."""
    numbers = range(5001, 5051)
    await pay(side, *numbers)
    running = notebook_relay(side.outbox, broker)
    async with connected(pay_url) as rows:
        before = await rows.fetch("SELECT * FROM outbox ORDER BY id")
        broker.down = True
        for _ in range(100):
            with pytest.raises(BrokerUnavailable):
                await running.run_once()
        assert await rows.fetch("SELECT * FROM outbox ORDER BY id") == before
    broker.down = False
    assert await running.run_once() == len(numbers)
    await wrote(book, *numbers)


@pytest.mark.slow
@pytest.mark.rabbitmq
async def test_a_confirmed_event_survives_a_crash_of_rabbitmq(
    pay_database: Database, trade_database: Database
) -> None:
    """The outbox has forgotten it by then, so the broker must not."""
    ensure_installed(print)
    node = await asyncio.to_thread(RabbitmqNode.start)
    with node:
        async with rabbit(node.url) as broker, shop(pay_database, trade_database) as world:
            await broker.declare(topology())
            await asyncio.to_thread(node.settle)
            await world.pay.fund("7", 1_000)
            order = await world.order(5001, "7", 100)
            assert order.pay_order_id
            await world.pay.attempt(order.pay_order_id, "7")
            await relay(world.pay.outbox, broker).run_once()
            assert await pending(world.pay) == 0

            node.kill()
            await asyncio.to_thread(node.restart)

            async with listening(trade_listener(world, broker)):

                async def marked() -> bool:
                    return await world.statuses() == {5001: "PAID"}

                await until(marked)


# The database dies -------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_database_that_is_gone_after_the_confirm_loses_nothing(
    side: PaySide, pay_url: str, book: Notebook, broker: MeanwhileBroker, cut: Literal["before", "after"]
) -> None:
    """Whether the row was removed or not, nobody knows; if it was not, the event goes out once more."""
    await pay(side, 5001)
    async with cutting_proxy(pay_url) as proxy, Database.open(proxy.url, SystemClock()) as database:

        async def prepare_the_cut() -> None:
            proxy.cut = cut

        proxy.statement = b"DELETE FROM outbox"
        broker.meanwhile = prepare_the_cut
        running = notebook_relay(Outbox(database), broker)
        with pytest.raises(DatabaseUnavailable):
            await running.run_once()
        assert proxy.cuts == 1
        assert await pending(side) == (1 if cut == "before" else 0)
        await expire_leases(pay_url)
        await drained(side, running)

    assert broker.published == (4 if cut == "before" else 2)
    await wrote(book, 5001)


async def test_a_relay_is_woken_by_the_commit_and_by_nothing_else(side: PaySide) -> None:
    """Waking is only haste: who was not woken finds the event by looking."""
    order = await side.order(5001, "7", 100)
    woken = asyncio.Event()
    side.outbox.on_append(woken.set)

    async def roll_back() -> None:
        async with side.database.transaction() as tx:
            await side.outbox.append(tx, [order.event(PAY_CLOSED, tx.now, new_traceparent())])
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await roll_back()
    assert not woken.is_set()
    assert await pending(side) == 0

    async with side.database.transaction() as tx:
        await side.outbox.append(tx, [order.event(PAY_CLOSED, tx.now, new_traceparent())])
        assert not woken.is_set()
    assert woken.is_set()
    assert await pending(side) == 1


# Everything at random ----------------------------------------------------------------------------


async def test_after_any_history_of_faults_every_payment_was_heard_of_once(
    side: PaySide, pay_url: str, book: Notebook, broker: MeanwhileBroker
) -> None:
    """Payments, relays that crash with what they were handed, lost confirms, ended leases, in any order."""
    random = seeded()
    numbers = iter(range(5001, 6000))
    paid: list[int] = []

    async def some_payments() -> None:
        some = [next(numbers) for _ in range(random.randint(1, 10))]
        await pay(side, *some)
        paid.extend(some)

    async def a_batch() -> None:
        handover = Handover(SystemClock())
        one = relay(
            *(Outbox(side.database), broker),
            batch_max=random.randint(1, 20),
            declares=NOTEBOOK,
            handover=handover,
        )
        if random.random() < 0.5:  # what is paid next is leased to a relay that may crash with it
            side.outbox.hand_to(handover)
            handover.open()
            await some_payments()
        fault(random, broker)
        try:
            await one.run_once()
        except (BrokerUnavailable, Crashed):
            pass
        finally:
            broker.down, broker.lose_confirms, broker.answer, broker.meanwhile = False, False, None, None

    async def time_passes() -> None:
        await expire_leases(pay_url)

    for _ in range(60):
        await random.choice([some_payments, a_batch, a_batch, time_passes])()
    await time_passes()
    await drained(side, notebook_relay(side.outbox, broker))
    await wrote(book, *paid)


class Crashed(Exception):
    """A process that ends without a word."""


def fault(random: Random, broker: MeanwhileBroker) -> None:
    """Prepare one of the things that may happen to a batch."""

    async def crash() -> None:
        raise Crashed

    happenings: list[Callable[[], None]] = [
        lambda: setattr(broker, "down", True),
        lambda: setattr(broker, "lose_confirms", True),
        lambda: setattr(
            broker, "answer", random.choice([Confirm.RETURNED, Confirm.REFUSED, Confirm.UNKNOWN])
        ),
        lambda: setattr(broker, "meanwhile", crash),
        lambda: None,
        lambda: None,
    ]
    random.choice(happenings)()
