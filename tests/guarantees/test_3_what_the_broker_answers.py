"""Promise 3: only what the broker has confirmed leaves the outbox; every other answer keeps it."""

from collections.abc import Iterator, Sequence
from uuid import uuid4

import pytest
from relaying import Said, expire_leases, pay, pending, relay
from support import PaySide, connected, seeded

from paybell.errors import BrokerUnavailable
from paybell.messaging.broker import Confirm, Message
from paybell.messaging.local import LocalBroker
from paybell.testing import FaultyBroker


class Answering(FaultyBroker):
    """Publishes nothing and answers in turn."""

    answers: Iterator[Confirm]

    async def publish(self, messages: Sequence[Message], deadline_seconds: float) -> Sequence[Confirm]:
        """Answer for each message."""
        del deadline_seconds
        return [next(self.answers) for _ in messages]


@pytest.mark.parametrize("first", Confirm)
@pytest.mark.parametrize("second", Confirm)
async def test_only_a_confirm_of_both_messages_removes_an_event(
    side: PaySide, first: Confirm, second: Confirm
) -> None:
    """Every other pair of answers keeps it, whichever of the two it concerns."""
    await pay(side, 5001)
    broker = Answering(LocalBroker())
    broker.answers = iter((first, second))
    said = Said()

    assert await relay(side.outbox, broker, said).run_once() == 1

    assert said.confirms == [first, second]
    assert await pending(side) == (0 if first is second is Confirm.CONFIRMED else 1)


@pytest.mark.parametrize("answer", [Confirm.RETURNED, Confirm.REFUSED])
async def test_an_event_that_came_back_is_set_aside_and_tried_again(
    side: PaySide, pay_url: str, answer: Confirm
) -> None:
    """Others are not held up by it."""
    await pay(side, 5001)
    broker = FaultyBroker(LocalBroker())
    running = relay(side.outbox, broker)
    broker.answer = answer
    assert await running.run_once() == 1
    await pay(side, 5002)
    broker.answer = Confirm.CONFIRMED
    assert await running.run_once() == 1
    assert (await running.retry_once(), await pending(side)) == (0, 1)

    await expire_leases(pay_url)
    assert await running.retry_once() == 1
    assert await pending(side) == 0


async def test_of_a_batch_exactly_the_confirmed_events_are_removed(side: PaySide, pay_url: str) -> None:
    """One that came back does not keep its neighbours, nor they take it along."""
    random, broker = seeded(), Answering(LocalBroker())
    await pay(side, *range(5001, 5101))
    async with connected(pay_url) as rows:
        ids = [row["id"] for row in await rows.fetch("SELECT id FROM outbox ORDER BY id")]
        answers = [random.choices(list(Confirm), weights=[8, 1, 1, 1], k=2) for _ in ids]
        broker.answers = (answer for pair in answers for answer in pair)
        await relay(side.outbox, broker).run_once()
        left = [row["id"] for row in await rows.fetch("SELECT id FROM unpublished_events ORDER BY id")]

    confirmed = [Confirm.CONFIRMED] * 2
    assert left == [row for row, pair in zip(ids, answers, strict=True) if pair != confirmed]


async def test_a_broker_that_goes_down_under_the_relay_keeps_no_lease(side: PaySide) -> None:
    """What was claimed by then can be claimed again at once."""

    class Dropping(FaultyBroker):
        @property
        def connected(self) -> bool:
            return True

    broker = Dropping(LocalBroker())
    running = relay(side.outbox, broker)
    await running.run_once()  # it has declared and goes straight to publishing
    await pay(side, 5001)
    broker.down = True
    with pytest.raises(BrokerUnavailable):
        await running.run_once()

    assert len(await side.outbox.claim(uuid4(), 30, 500)) == 1
