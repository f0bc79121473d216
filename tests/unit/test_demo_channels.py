"""What the demo of channels makes of both sides' books."""

from paybell.channels.attempt import AttemptState
from paybell.channels.bill_matching import Outcome
from paybell.cli.demo_channels import judged

PAID, NOTHING = {"paid": 100, "refunded": 0}, {"paid": 0, "refunded": 0}
BACK = {"paid": 100, "refunded": 100}
NONE = {"manual": 0, "backByItself": 0, "lost": 0, "doubled": 0, "guessed": 0}


def outcome(number: str, state: AttemptState, *, paid: bool = True) -> Outcome:
    return Outcome(number, "alipay", state, 1, 100, paid)


def test_books_that_agree_are_well() -> None:
    attempts = [outcome("1", AttemptState.SUCCEEDED), outcome("2", AttemptState.LATE_SUCCESS)]
    assert judged(attempts, {"alipay": {"1": PAID, "2": BACK}}) == {**NONE, "backByItself": 1}
    assert judged([outcome("1", AttemptState.CLOSED, paid=False)], {"alipay": {}}) == NONE


def test_money_that_is_kept_for_nothing_or_twice_and_an_outcome_that_was_guessed_are_counted() -> None:
    late = outcome("2", AttemptState.LATE_SUCCESS)
    kept = judged([outcome("1", AttemptState.SUCCEEDED), late], {"alipay": {"1": PAID, "2": PAID}})
    assert kept == {**NONE, "doubled": 1}
    unpaid = judged([outcome("1", AttemptState.LATE_SUCCESS, paid=False)], {"alipay": {"1": PAID}})
    assert unpaid == {**NONE, "lost": 1}
    for state, there in ((AttemptState.SUCCEEDED, NOTHING), (AttemptState.CLOSED, PAID)):
        assert judged([outcome("1", state)], {"alipay": {"1": there}})["guessed"] == 1
