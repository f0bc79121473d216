"""Promise 3 also where an event goes straight from its transaction to a relay of the same process."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from notebook import BINDING, Notebook, notebook
from relaying import MeanwhileBroker, Relays, Said, expire_leases, listening, pay, pending, relay
from support import PaySide, connected, until

from paybell.clock import SystemClock
from paybell.errors import BrokerUnavailable
from paybell.ids import new_traceparent
from paybell.messaging.broker import Topology
from paybell.messaging.events import PAY_CLOSED, PAY_DIRECT, PAY_EVENTS, OutboxEvent
from paybell.messaging.handover import PAUSE_SECONDS, WAITING_MAX, WRITER_LEASE_SECONDS, Handover
from paybell.messaging.local import LocalBroker
from paybell.messaging.outbox import Outbox
from paybell.storage import Database
from paybell.testing import FrozenClock

NOTEBOOK = Topology([PAY_DIRECT, PAY_EVENTS], [BINDING])
EVENT = OutboxEvent(1, "pay.closed:1", PAY_CLOSED, "1", b"{}", datetime(2026, 1, 1, tzinfo=UTC), "")


@pytest.fixture
def clock() -> FrozenClock:
    """Of the handover alone."""
    return FrozenClock()


@pytest.fixture
def handover(clock: FrozenClock) -> Handover:
    """Where payments go; open, since the broker takes messages."""
    handover = Handover(clock)
    handover.open()
    return handover


@pytest.fixture
async def side(pay_database: Database, handover: Handover) -> PaySide:
    """The pay service of a process that relays, and a user 7 with money."""
    side = PaySide(pay_database)
    side.outbox.hand_to(handover)
    await side.fund("7", 1_000_000)
    return side


@pytest.fixture
async def broker() -> MeanwhileBroker:
    """The local broker, with faults."""
    return MeanwhileBroker(LocalBroker())


@pytest.fixture
async def book(trade_url: str, broker: MeanwhileBroker) -> AsyncIterator[Notebook]:
    """A listener that writes down every payment it is notified of."""
    async with notebook(trade_url, SystemClock(), broker) as book:
        await broker.declare(NOTEBOOK)
        async with listening(book.runner):
            yield book


def own_relay(side: PaySide, broker: MeanwhileBroker, handover: Handover, said: Said | None = None) -> Relays:
    """The relay of the process that writes."""
    return relay(side.outbox, broker, said, declares=NOTEBOOK, handover=handover)


def another_relay(side: PaySide, broker: MeanwhileBroker) -> Relays:
    """The relay of another process, to which nobody hands anything."""
    return relay(Outbox(side.database), broker, declares=NOTEBOOK)


async def leased(pay_url: str) -> list[bool]:
    """Say of each event that waits whether it is leased, oldest first."""
    async with connected(pay_url) as rows:
        found = await rows.fetch("SELECT lease_token IS NOT NULL AS leased FROM outbox ORDER BY id")
    return [row["leased"] for row in found]


async def row_versions(pay_url: str) -> list[str]:
    """Return which transaction wrote each row that waits."""
    async with connected(pay_url) as rows:
        return [row["xmin"] for row in await rows.fetch("SELECT xmin::text FROM outbox ORDER BY id")]


async def wrote(book: Notebook, *numbers: int) -> None:
    """Wait until these are written down; each once."""

    async def written() -> bool:
        return set(await book.written()) >= set(numbers)

    await until(written)
    assert await book.written() == sorted(numbers)


async def test_what_this_process_writes_is_published_without_a_claim(
    side: PaySide, pay_url: str, book: Notebook, broker: MeanwhileBroker, handover: Handover
) -> None:
    await pay(side, 5001, 5002)
    assert await leased(pay_url) == [True, True]
    assert await another_relay(side, broker).run_once() == 0

    versions = await row_versions(pay_url)

    async def unchanged() -> None:
        assert await row_versions(pay_url) == versions

    broker.meanwhile = unchanged
    assert await own_relay(side, broker, handover).run_once() == 2

    assert await pending(side) == 0
    await wrote(book, 5001, 5002)


async def test_a_process_that_dies_between_commit_and_publishing_leaves_its_events_to_others(
    side: PaySide, pay_url: str, book: Notebook, broker: MeanwhileBroker
) -> None:
    await pay(side, 5001)
    successor = another_relay(side, broker)
    assert await successor.run_once() == 0

    await expire_leases(pay_url)

    assert await successor.run_once() == 1
    await wrote(book, 5001)


async def test_the_lease_of_a_dead_writer_ends_within_seconds(side: PaySide, pay_url: str) -> None:
    await pay(side, 5001)
    async with connected(pay_url) as rows:
        left = await rows.fetchval("SELECT extract(epoch FROM leased_until - clock_timestamp()) FROM outbox")
    assert 0 < left <= WRITER_LEASE_SECONDS <= 5


async def test_two_publishers_after_the_end_of_a_lease_apply_it_once(
    side: PaySide, pay_url: str, book: Notebook, broker: MeanwhileBroker, handover: Handover
) -> None:
    said = Said()
    await pay(side, 5001)

    async def taken_over() -> None:
        await expire_leases(pay_url)
        assert await another_relay(side, broker).run_once() == 1

    broker.meanwhile = taken_over
    await own_relay(side, broker, handover, said).run_once()

    assert said.lease_lost == 1
    assert broker.published == 4
    await wrote(book, 5001)


async def test_what_is_not_confirmed_is_claimed_by_whoever_looks_next_and_no_more_is_handed_over(
    side: PaySide, pay_url: str, book: Notebook, broker: MeanwhileBroker, handover: Handover
) -> None:
    await pay(side, 5001)
    broker.lose_confirms = True
    await own_relay(side, broker, handover).run_once()
    broker.lose_confirms = False
    await pay(side, 5002)
    assert await leased(pay_url) == [False, False]

    assert await another_relay(side, broker).run_once() == 2
    await wrote(book, 5001, 5002)


async def test_without_a_broker_nothing_is_leased_and_payments_go_on(
    side: PaySide,
    pay_url: str,
    book: Notebook,
    broker: MeanwhileBroker,
    handover: Handover,
    *,
    clock: FrozenClock,
) -> None:
    own = own_relay(side, broker, handover)
    broker.down = True
    with pytest.raises(BrokerUnavailable):
        await own.run_once()
    await pay(side, 5001)
    assert await leased(pay_url) == [False]
    broker.down = False

    assert await own.run_once() == 1
    await pay(side, 5002)
    assert await leased(pay_url) == [False]
    clock.advance(PAUSE_SECONDS)
    assert await own.run_once() == 1
    await pay(side, 5003)
    assert await leased(pay_url) == [True]
    assert await own.run_once() == 1
    await wrote(book, 5001, 5002, 5003)


async def test_what_was_rolled_back_is_not_handed_over(side: PaySide, handover: Handover) -> None:
    order = await side.order(5001, "7", 100)

    async def roll_back() -> None:
        async with side.database.transaction() as tx:
            await side.outbox.append(tx, [order.event(PAY_CLOSED, tx.now, new_traceparent())])
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await roll_back()
    assert handover.take(10) == []


async def test_a_backlog_of_others_is_published_while_our_own_events_keep_coming(
    side: PaySide, book: Notebook, broker: MeanwhileBroker, handover: Handover
) -> None:
    own, elsewhere = own_relay(side, broker, handover), PaySide(side.database, first_id=900_000)
    await pay(elsewhere, 6001)
    numbers = iter(range(5001, 6000))
    paid: list[int] = []

    async def published() -> bool:
        paid.append(next(numbers))
        await pay(side, paid[-1])
        await own.run_once()
        return 6001 in await book.written()

    await until(published)
    await wrote(book, *paid, 6001)


async def test_what_waits_too_long_is_left_to_a_claim_and_memory_is_bounded() -> None:
    clock = FrozenClock()
    handover = Handover(clock)
    assert handover.lease() is None
    handover.open()
    lease = handover.lease()
    assert lease is not None
    handover.put([], lease[1])
    handover.put([EVENT] * WAITING_MAX, lease[1])
    assert handover.lease() is None
    assert len(handover.take(1)) == 1
    clock.advance(WRITER_LEASE_SECONDS)
    assert handover.take(WAITING_MAX) == []
    assert handover.lease() is not None


async def test_who_only_writes_publishes_its_own_events_and_no_others_and_waits_for_no_broker(
    side: PaySide, book: Notebook, broker: MeanwhileBroker, handover: Handover
) -> None:
    own, elsewhere = own_relay(side, broker, handover).relay, PaySide(side.database, first_id=900_000)
    await pay(elsewhere, 6001)
    await pay(side, 5001)
    broker.down = True
    assert await own.publish_own() == 0
    assert await pending(side) == 2
    broker.down = False

    await pay(elsewhere, 6002)
    handover_again = Handover(FrozenClock())
    side.outbox.hand_to(handover_again)
    fresh = own_relay(side, broker, handover_again).relay
    assert await fresh.publish_own() == 0
    await pay(side, 5002)
    assert await fresh.publish_own() == 1
    await wrote(book, 5002)
    assert await pending(side) == 3
