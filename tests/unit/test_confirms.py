"""The broker's answers, in any order it may give them, come to the right messages."""

from functools import partial
from random import Random

import pytest
from support import seeded

from paybell.messaging.broker import Confirm
from paybell.messaging.rabbitmq.confirms import ConfirmLedger, Published


class Channel:
    """A ledger with batches, and what the broker is going to say of each tag."""

    def __init__(self, *sizes: int) -> None:
        """Publish batches of these sizes; their messages are named by their tags."""
        self.ledger = ConfirmLedger()
        self.told: list[int] = []
        self.batches: list[Published] = []
        for number, size in enumerate(sizes):
            first = sum(sizes[:number]) + 1
            ids = [str(tag) for tag in range(first, first + size)]
            self.batches.append(self.ledger.publish(ids, partial(self.told.append, number)))

    @property
    def confirms(self) -> list[Confirm]:
        """What is known of each message, by tag from 1."""
        return [confirm for batch in self.batches for confirm in batch.confirms]

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Hear Basic.Ack."""
        self.ledger.answer(tag, Confirm.CONFIRMED, multiple=multiple)

    def nack(self, tag: int, *, multiple: bool = False) -> None:
        """Hear Basic.Nack."""
        self.ledger.answer(tag, Confirm.REFUSED, multiple=multiple)


UNKNOWN, CONFIRMED, REFUSED, RETURNED = (
    Confirm.UNKNOWN, Confirm.CONFIRMED, Confirm.REFUSED, Confirm.RETURNED
)  # fmt: skip


def test_nothing_is_known_until_it_is_answered_for() -> None:
    channel = Channel(2)

    assert channel.confirms == [UNKNOWN, UNKNOWN]
    assert channel.told == []


def test_one_answer_may_be_for_many_and_span_batches() -> None:
    channel = Channel(2, 3, 2)
    channel.ack(4, multiple=True)

    assert channel.confirms == [CONFIRMED] * 4 + [UNKNOWN] * 3
    assert channel.told == [0]


def test_an_answer_for_many_spares_those_that_have_one() -> None:
    channel = Channel(4)
    channel.nack(2)
    channel.ack(3, multiple=True)

    assert channel.confirms == [CONFIRMED, REFUSED, CONFIRMED, UNKNOWN]


def test_a_returned_message_is_not_confirmed_by_its_confirm() -> None:
    """Alone or among many; and a confirm before it is not touched."""
    channel = Channel(3, 2)
    channel.ledger.take_back("2")
    channel.ledger.take_back("5")
    channel.ack(4, multiple=True)
    channel.ack(5)

    assert channel.confirms == [CONFIRMED, RETURNED, CONFIRMED, CONFIRMED, RETURNED]
    assert channel.told == [0, 1]


@pytest.mark.parametrize("tag", [0, 3, 99])
def test_an_answer_for_nobody_changes_nothing(tag: int) -> None:
    channel = Channel(2)
    channel.ack(tag)

    assert channel.confirms == [UNKNOWN, UNKNOWN]


def test_any_order_of_answers_comes_to_the_right_messages() -> None:
    """A thousand channels with acks and nacks, single and multiple, in and out of order, some missing."""
    random = seeded()
    for _ in range(1_000):
        sizes = random.choices(range(1, 9), k=random.randint(1, 5))
        channel = Channel(*sizes)
        fates = random.choices([CONFIRMED, REFUSED, RETURNED], weights=[8, 1, 2], k=sum(sizes))
        expected = [UNKNOWN] * len(fates)
        while UNKNOWN in expected and random.random() > 0.02:
            answer(random, channel, fates, expected)
            assert channel.confirms == expected

        complete = [number for number, batch in enumerate(channel.batches) if UNKNOWN not in batch.confirms]
        assert sorted(channel.told) == complete


def answer(random: Random, channel: Channel, fates: list[Confirm], expected: list[Confirm]) -> None:
    """Give one answer as a broker may, and write down what it means."""
    tag = random.choice([tag for tag, known in enumerate(expected, 1) if known is UNKNOWN])
    concerned = [one for one in range(1, tag + 1) if expected[one - 1] is UNKNOWN]
    refused = {fates[one - 1] is REFUSED for one in concerned}
    multiple = len(refused) == 1 and random.random() < 0.5
    concerned = concerned if multiple else [tag]
    for one in concerned:
        expected[one - 1] = fates[one - 1]
        if fates[one - 1] is RETURNED:
            channel.ledger.take_back(str(one))
    say = channel.nack if fates[tag - 1] is REFUSED else channel.ack
    say(tag, multiple=multiple)
