"""What the demo of channels makes of both sides' books, and whom it lets pay."""

from collections import Counter

from paybell.channels.attempt import AttemptState
from paybell.channels.standing import Outcome, Standing
from paybell.cli.demo_books import Judged, judged
from paybell.cli.demo_buyers import METHODS, plan

PAID, NOTHING = {"paid": 100, "refunded": 0}, {"paid": 0, "refunded": 0}
BACK, HALF = {"paid": 100, "refunded": 100}, {"paid": 100, "refunded": 50}


def outcome(number: str, state: AttemptState, *, paid: bool = True, refunded: int = 0) -> Outcome:
    return Outcome(number, "alipay", state, 1, 100, refunded, paid)


def compared(outcomes: list[Outcome], books: dict[str, dict[str, int]], kept: int, left: int = 0) -> Judged:
    return judged(Standing(outcomes, {"alipay": kept}, left), {"alipay": books})


def test_books_that_agree_are_well() -> None:
    attempts = [outcome("1", AttemptState.SUCCEEDED), outcome("2", AttemptState.LATE_SUCCESS)]
    assert (said := compared(attempts, {"1": PAID, "2": BACK}, 100)) == Judged(back_by_itself=1)
    assert said.clean
    assert compared([outcome("1", AttemptState.CLOSED, paid=False)], {}, 0) == Judged()
    assert compared([outcome("1", AttemptState.SUCCEEDED, refunded=50)], {"1": HALF}, 50) == Judged()


def test_money_that_is_kept_for_nothing_or_twice_and_an_outcome_that_was_guessed_are_counted() -> None:
    late = outcome("2", AttemptState.LATE_SUCCESS)
    kept = compared([outcome("1", AttemptState.SUCCEEDED), late], {"1": PAID, "2": PAID}, 200)
    assert kept == Judged(doubled=1)
    unpaid = compared([outcome("1", AttemptState.LATE_SUCCESS, paid=False)], {"1": PAID}, 100)
    assert unpaid == Judged(lost=1)
    for state, there in ((AttemptState.SUCCEEDED, NOTHING), (AttemptState.CLOSED, PAID)):
        assert compared([outcome("1", state)], {"1": there}, there["paid"]).guessed == 1


def test_books_that_are_one_minor_unit_apart_and_what_is_undecided_are_not_clean() -> None:
    attempts = [outcome("1", AttemptState.SUCCEEDED)]
    assert compared(attempts, {"1": PAID}, 99) == Judged(apart=1)
    assert not compared(attempts, {"1": PAID}, 99).clean
    assert not compared(attempts, {"1": PAID}, 100, left=1).clean


def test_as_many_orders_are_paid_by_each_method() -> None:
    orders = plan(range(200))
    assert Counter(one.method for one in orders) == dict.fromkeys(METHODS, 40)
    assert all(any(one.twice and one.method == name for one in orders) for name in METHODS[2:])
