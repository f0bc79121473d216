"""What a channel's word makes of an attempt: pure, as a table one can read; no I/O, no clock."""

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from paybell.channels.answers import Closed, NotFound, NotSent, Opened, Paid, Refused, Said, Unknown, Waiting
from paybell.channels.attempt import RECEIVED, Attempt, AttemptState, Call
from paybell.channels.channel import Kind

# After how many seconds an attempt in doubt is queried. A call: then a person has to look. A window: the last
# wait repeats while it is open.
CALL_SCHEDULE = (2.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, *(86_400.0,) * 7)
WINDOW_SCHEDULE = (5.0, 10.0, 20.0, 40.0, 60.0)
# Clocks differ, and requests are under way: a window that its channel does not know is over only this much
# later.
DEADLINE_MARGIN = timedelta(seconds=60)
# A window about which its channel has said nothing certain for so long after its end is a person's.
WINDOW_PATIENCE = timedelta(days=7)
_UNANSWERED = frozenset({AttemptState.PREPARED, AttemptState.SENT})
_OF_OPENING = frozenset({Call.OPEN, Call.ABANDON})


class Effect(StrEnum):
    """What has to happen in the same transaction."""

    NONE = "none"
    PAY = "pay"
    GIVE_BACK = "give_back"


class Verdict(msgspec.Struct, frozen=True):
    """An attempt as it is to be written, what else has to happen with it, and what an operator must read."""

    attempt: Attempt
    effect: Effect = Effect.NONE
    alarm: str = ""


def decide(
    attempt: Attempt,
    call: Call,
    said: Said,
    *,
    payable: bool,
    schedule: tuple[float, ...],
    now: datetime,
    margin: timedelta = DEADLINE_MARGIN,
    jitter: float = 1.0,
) -> Verdict:
    """Decide what a channel's word makes of an attempt that is locked together with its pay order.

    Args:
        attempt: as it is.
        call: what was asked.
        said: what was answered.
        payable: whether the pay order has neither been paid nor closed.
        schedule: the channel's; see `Channel`.
        now: the transaction's time.
        margin: so long after its end a window that its channel does not know is over.
        jitter: by what the next wait is multiplied.
    """
    if isinstance(said, Paid):
        if not (differs := _difference(attempt, said)):
            return _paid(attempt, said, payable=payable, now=now)
        if attempt.live and attempt.state is not AttemptState.PREPARED:
            attempt = _waits(attempt, call, said, now, next_query(attempt, schedule, now, jitter))
        return Verdict(attempt, alarm=differs)
    if not attempt.live or (call is Call.ABANDON and attempt.state is not AttemptState.PREPARED):
        return Verdict(attempt)
    if never := _never(attempt, call, said, now, margin):
        return Verdict(never)
    at = next_query(attempt, schedule, now, jitter)
    return Verdict(_waits(attempt, call, said, now, at))


def _never(attempt: Attempt, call: Call, said: Said, now: datetime, margin: timedelta) -> Attempt | None:
    """Return the attempt as refused or closed, if this word makes that certain."""
    match said:
        case Refused(code, words):
            return _final(attempt, AttemptState.REFUSED, now, code, words)
        case Closed():
            return _final(attempt, AttemptState.CLOSED, now, "closed")
        case NotSent(reason) if call in _OF_OPENING and attempt.state in _UNANSWERED:
            return _final(attempt, AttemptState.REFUSED, now, "not_sent", reason)
        case NotFound() if _is_over(attempt, now, margin):
            return _final(attempt, AttemptState.CLOSED, now, "never_seen")
    return None


def _is_over(attempt: Attempt, now: datetime, margin: timedelta) -> bool:
    """Say whether "I do not know it" is final: never of a call, which may still be on its way."""
    return attempt.kind is Kind.WINDOW and now >= attempt.expires_at + margin


def _paid(attempt: Attempt, said: Paid, *, payable: bool, now: datetime) -> Verdict:
    if attempt.state in RECEIVED:
        return Verdict(attempt)
    state, effect = (
        (AttemptState.SUCCEEDED, Effect.PAY) if payable else (AttemptState.LATE_SUCCESS, Effect.GIVE_BACK)
    )
    received = msgspec.structs.replace(attempt, transaction_id=said.transaction_id)
    return Verdict(_final(received, state, now), effect)


def _difference(attempt: Attempt, said: Paid) -> str:
    """Say how what was paid is not what was asked for; empty if it is."""
    if (said.amount, said.currency) != (attempt.amount, attempt.currency):
        return (
            f"the channel says {said.amount} {said.currency} were paid, "
            f"asked were {attempt.amount} {attempt.currency}"
        )
    if said.merchant != attempt.merchant:
        return f"the channel says it was paid to {said.merchant}, asked was {attempt.merchant}"
    if attempt.transaction_id is not None and said.transaction_id != attempt.transaction_id:
        return f"the channel says it was paid as {said.transaction_id} and as {attempt.transaction_id}"
    return ""


def _final(attempt: Attempt, state: AttemptState, now: datetime, code: str = "", detail: str = "") -> Attempt:
    return msgspec.structs.replace(
        attempt,
        state=state,
        changed_at=now,
        next_query_at=None,
        qr_code="",
        redirect_url="",
        code=code,
        detail=detail,
    )


def _waits(attempt: Attempt, call: Call, said: Said, now: datetime, at: datetime | None) -> Attempt:
    """Return an attempt that is not final yet, to be queried next at this time; None: a person's."""
    if attempt.state is AttemptState.MANUAL:
        return attempt
    state = _state_after(attempt, said)
    detail = said.reason if isinstance(said, Unknown | NotSent) else ""
    if at is None:
        state = AttemptState.MANUAL
    after = msgspec.structs.replace(
        attempt,
        state=state,
        changed_at=now if state is not attempt.state else attempt.changed_at,
        next_query_at=at,
        queries=attempt.queries + (call is not Call.CLOSE),  # which follows a query that is counted
        code="" if at is not None else "schedule_used_up",
        detail=detail,
    )
    if isinstance(said, Opened):
        return msgspec.structs.replace(
            after, reference=said.reference, qr_code=said.qr_code, redirect_url=said.redirect_url, queries=0
        )
    return after


def _state_after(attempt: Attempt, said: Said) -> AttemptState:
    if attempt.kind is Kind.WINDOW and isinstance(said, Opened | Waiting):
        return AttemptState.OPEN
    return attempt.state if attempt.state is AttemptState.OPEN else AttemptState.UNKNOWN


def next_query(
    attempt: Attempt, schedule: tuple[float, ...], now: datetime, jitter: float = 1.0
) -> datetime | None:
    """Return when an attempt in doubt is queried next, None if a person has to look."""
    if attempt.kind is Kind.CALL:
        if attempt.queries >= len(schedule):
            return None
        return now + timedelta(seconds=schedule[attempt.queries] * jitter)
    if not schedule or now >= attempt.expires_at + WINDOW_PATIENCE:
        return None
    wait = timedelta(seconds=schedule[min(attempt.queries, len(schedule) - 1)] * jitter)
    if now < attempt.expires_at:
        return min(now + wait, attempt.expires_at)
    # What its channel leaves in doubt after the end is queried ever more rarely.
    return now + max(wait, now - attempt.expires_at)


def closes_after(attempt: Attempt, said: Said, *, payable: bool, now: datetime) -> bool:
    """Say whether the channel is asked to close an attempt after a query was answered so.

    A call whose channel does not know it is reversed: only that keeps it from happening later. A window is
    closed at its end, or as soon as nothing is left to pay.
    """
    if attempt.kind is Kind.CALL:
        return isinstance(said, NotFound)
    return isinstance(said, Waiting | NotFound) and (now >= attempt.expires_at or not payable)
