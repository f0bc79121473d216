"""What opens the circuit of a channel, and what does not."""

import pytest

from paybell.channels.answers import NotFound, Unknown
from paybell.channels.circuit import AWAY_SECONDS, FAILURES_MAX, Circuit
from paybell.testing import FrozenClock


@pytest.mark.parametrize(
    ("said", "away"),
    [
        (Unknown("no answer within 10 s"), True),
        (Unknown("more sessions than are looked through", answered=True), False),
        (NotFound(), False),
    ],
    ids=["silence", "not certain of this one", "certain"],
)
def test_a_channel_that_answers_is_not_away(said: object, away: bool) -> None:
    """One attempt that cannot be found out keeps no other waiting, however often it is asked about."""
    circuit = Circuit(FrozenClock())
    for _ in range(2 * FAILURES_MAX):
        circuit.note(said)

    assert circuit.away is away


def test_it_is_tried_again_after_a_while() -> None:
    clock = FrozenClock()
    circuit = Circuit(clock)
    for _ in range(FAILURES_MAX):
        circuit.note(Unknown("HTTP 502"))
    assert circuit.away

    clock.advance(AWAY_SECONDS)
    assert not circuit.away
