"""The decision about an attempt, as a table: what it was, what the channel said, what it becomes."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from paybell.channels.answers import Closed, NotFound, NotSent, Opened, Paid, Refused, Said, Unknown, Waiting
from paybell.channels.attempt import LIVE, MOVES, RECEIVED, Attempt, AttemptState, Call
from paybell.channels.channel import Kind
from paybell.channels.decision import (
    CALL_SCHEDULE,
    DEADLINE_MARGIN,
    WINDOW_SCHEDULE,
    Effect,
    Verdict,
    closes_after,
    decide,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ENDS = NOW + timedelta(minutes=10)
OVER = ENDS + DEADLINE_MARGIN
PAID = Paid(100, "CNY", "tx-1", "shop")
SAID: dict[str, Said] = {
    "opened": Opened("qr"),
    "waiting": Waiting(),
    "paid": PAID,
    "refused": Refused("INSUFFICIENT"),
    "closed": Closed(),
    "not found": NotFound(),
    "unknown": Unknown("HTTP 502"),
    "not sent": NotSent("refused"),
}
SCHEDULES = {Kind.CALL: CALL_SCHEDULE, Kind.WINDOW: WINDOW_SCHEDULE}


def attempt(kind: Kind, state: AttemptState, queries: int = 0) -> Attempt:
    return Attempt(
        id=7,
        pay_order_id=1,
        channel="somewhere",
        kind=kind,
        state=state,
        amount=100,
        currency="CNY",
        merchant="shop",
        created_at=NOW,
        expires_at=ENDS,
        changed_at=NOW,
        next_query_at=NOW if state in LIVE - {AttemptState.MANUAL} else None,
        queries=queries,
        reference="",
        qr_code="",
        redirect_url="",
        transaction_id="tx-1" if state in RECEIVED else None,
        code="",
        detail="",
        traceparent="",
    )


def decided(one: Attempt, call: Call, said: Said, *, now: datetime = NOW, payable: bool = True) -> Verdict:
    return decide(one, call, said, payable=payable, schedule=SCHEDULES[one.kind], now=now)


# kind, state, call, said: what it becomes. One line for every rule; what is not here stays as it is or waits.
TABLE = """
call   SENT     open   paid       SUCCEEDED
call   SENT     open   refused    REFUSED
call   SENT     open   not sent   REFUSED
call   SENT     open   unknown    UNKNOWN
call   SENT     query  not sent   UNKNOWN
call   SENT     query  not found  UNKNOWN
call   SENT     query  waiting    UNKNOWN
call   SENT     query  paid       SUCCEEDED
call   UNKNOWN  query  not sent   UNKNOWN
call   UNKNOWN  query  not found  UNKNOWN
call   UNKNOWN  query  refused    REFUSED
call   UNKNOWN  close  closed     CLOSED
call   UNKNOWN  close  paid       SUCCEEDED
call   UNKNOWN  close  unknown    UNKNOWN
call   MANUAL   query  unknown    MANUAL
call   MANUAL   query  paid       SUCCEEDED
call   MANUAL   query  refused    REFUSED
call   MANUAL   close  closed     CLOSED
call   REFUSED  query  paid       SUCCEEDED
call   CLOSED   query  paid       SUCCEEDED
call   CLOSED   query  unknown    CLOSED
window SENT     open   opened     OPEN
window SENT     open   unknown    UNKNOWN
window SENT     open   not sent   REFUSED
window SENT     open   refused    REFUSED
window UNKNOWN  query  waiting    OPEN
window UNKNOWN  open   opened     OPEN
window OPEN     query  waiting    OPEN
window OPEN     query  not found  OPEN
window OPEN     query  unknown    OPEN
window OPEN     query  not sent   OPEN
window OPEN     query  paid       SUCCEEDED
window OPEN     query  closed     CLOSED
window OPEN     close  closed     CLOSED
window OPEN     close  not found  OPEN
window CLOSED   query  paid       SUCCEEDED
window CLOSED   query  waiting    CLOSED
"""


@pytest.mark.parametrize("line", TABLE.strip().splitlines())
def test_the_table(line: str) -> None:
    kind, state, call, *said, becomes = line.split()

    verdict = decided(attempt(Kind(kind), AttemptState(state)), Call(call), SAID[" ".join(said)])

    assert verdict.attempt.state is AttemptState(becomes)
    assert (verdict.effect is Effect.PAY) == (becomes == "SUCCEEDED")
    assert not verdict.alarm


@pytest.mark.parametrize(
    ("kind", "state", "call", "said", "payable"),
    [*product(Kind, AttemptState, Call, SAID.values(), (True, False))],
)
def test_nothing_is_ever_decided_that_is_no_legal_move(
    kind: Kind, state: AttemptState, call: Call, said: Said, payable: bool
) -> None:
    for now in (NOW, ENDS, OVER, OVER + timedelta(days=30)):
        if state is AttemptState.PREPARED:
            continue  # nothing was sent, so nothing is answered
        after = decided(attempt(kind, state), call, said, now=now, payable=payable).attempt

        assert after.state is state or after.state in MOVES[state]
        assert (after.next_query_at is None) == (after.state not in LIVE - {AttemptState.MANUAL})
        assert (after.transaction_id is None) == (after.state not in RECEIVED)


@pytest.mark.parametrize(("kind", "state", "said"), [*product(Kind, sorted(LIVE), SAID.values())])
def test_no_clock_makes_a_failure_of_doubt(kind: Kind, state: AttemptState, said: Said) -> None:
    """Only a certain no, a confirmed close, or "never seen" of a window that is over."""
    certain = isinstance(said, Refused | Closed | Paid | NotSent)
    if certain or state is AttemptState.PREPARED:
        return
    for queries, now in product((0, 99), (NOW, OVER + timedelta(days=365))):
        after = decided(attempt(kind, state, queries), Call.QUERY, said, now=now).attempt

        gone = isinstance(said, NotFound) and kind is Kind.WINDOW and now >= OVER
        assert after.live is not gone


@pytest.mark.parametrize(
    ("kind", "state"), [*product(Kind, sorted(set(AttemptState) - RECEIVED - {AttemptState.PREPARED}))]
)
def test_money_for_an_order_that_is_paid_or_closed_goes_back(kind: Kind, state: AttemptState) -> None:
    verdict = decided(attempt(kind, state), Call.QUERY, PAID, payable=False)

    assert verdict.attempt.state is AttemptState.LATE_SUCCESS
    assert verdict.effect is Effect.GIVE_BACK


@pytest.mark.parametrize("state", sorted(RECEIVED))
def test_the_same_success_again_changes_nothing(state: AttemptState) -> None:
    before = attempt(Kind.WINDOW, state)

    assert decided(before, Call.QUERY, PAID, payable=False) == Verdict(before)


@pytest.mark.parametrize(
    "said",
    [
        Paid(99, "CNY", "tx-1", "shop"),
        Paid(100, "USD", "tx-1", "shop"),
        Paid(100, "CNY", "tx-1", "another shop"),
    ],
)
@pytest.mark.parametrize("state", sorted(set(AttemptState) - {AttemptState.PREPARED}))
def test_another_amount_currency_or_merchant_pays_nothing_and_is_an_alarm(
    state: AttemptState, said: Paid
) -> None:
    before = attempt(Kind.WINDOW, state)
    verdict = decided(before, Call.QUERY, said)

    assert verdict.effect is Effect.NONE
    assert (verdict.attempt == before) == (not before.live or state is AttemptState.MANUAL)
    assert verdict.attempt.live == before.live
    assert "the channel says" in verdict.alarm


def test_a_call_in_doubt_is_a_persons_when_its_schedule_is_used_up() -> None:
    one = attempt(Kind.CALL, AttemptState.SENT)
    waits = []
    while one.state is not AttemptState.MANUAL:
        one = decided(one, Call.QUERY, Unknown("")).attempt
        waits.append(one.next_query_at and (one.next_query_at - NOW).total_seconds())

    assert waits == [*CALL_SCHEDULE, None]


def test_what_cannot_be_queried_is_a_persons_at_once() -> None:
    said = Unknown("HTTP 500")
    one = attempt(Kind.CALL, AttemptState.SENT)
    verdict = decide(one, Call.OPEN, said, payable=True, schedule=(), now=NOW)

    assert verdict.attempt.state is AttemptState.MANUAL
    assert (verdict.attempt.code, verdict.attempt.detail) == ("schedule_used_up", "HTTP 500")


def test_a_window_is_queried_at_its_end_at_the_latest_and_ever_more_rarely_after_it() -> None:
    open_ = attempt(Kind.WINDOW, AttemptState.OPEN, queries=99)
    before_end = decided(open_, Call.QUERY, Waiting(), now=ENDS - timedelta(seconds=1)).attempt
    hour_after = decided(open_, Call.QUERY, Unknown(""), now=ENDS + timedelta(hours=1)).attempt

    assert before_end.next_query_at == ENDS
    assert hour_after.next_query_at == ENDS + timedelta(hours=2)


def test_a_reversal_follows_what_the_channel_does_not_know_and_a_close_the_end_of_a_window() -> None:
    call, window = attempt(Kind.CALL, AttemptState.UNKNOWN), attempt(Kind.WINDOW, AttemptState.OPEN)

    assert closes_after(call, NotFound(), payable=True, now=NOW)
    assert not closes_after(call, Unknown(""), payable=True, now=OVER)
    assert not closes_after(window, Waiting(), payable=True, now=NOW)
    assert closes_after(window, Waiting(), payable=True, now=ENDS)
    assert closes_after(window, NotFound(), payable=False, now=NOW)
    assert not closes_after(window, PAID, payable=False, now=OVER)


@pytest.mark.parametrize("kind", Kind)
def test_what_is_given_up_before_it_was_sent_is_refused_and_what_was_sent_meanwhile_is_not(
    kind: Kind,
) -> None:
    """Whoever gives it up has read it a moment ago; the process that prepared it may be faster."""
    given_up = NotSent("it was closed before it was sent")
    prepared = decided(attempt(kind, AttemptState.PREPARED), Call.ABANDON, given_up).attempt
    assert (prepared.state, prepared.code) == (AttemptState.REFUSED, "not_sent")
    for state in LIVE - {AttemptState.PREPARED}:
        before = attempt(kind, state)
        assert decided(before, Call.ABANDON, given_up).attempt == before
