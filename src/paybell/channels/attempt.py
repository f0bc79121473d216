"""One attempt to take money from elsewhere: its states, every move between them, and the row it is.

Two rules carry everything, and `decision` keeps them: an outcome is never guessed, so that only a channel's
certain word makes an attempt final; and a final state is never overwritten by a lesser answer, except that
money which has moved after all is always believed.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from paybell.channels.channel import Charge, Kind
from paybell.pay.model import PayOrder


class AttemptState(StrEnum):
    """Where an attempt stands; the same words are in the database."""

    PREPARED = "PREPARED"  # committed, and nothing sent
    SENT = "SENT"  # committed before the call: from here on it may have happened
    OPEN = "OPEN"  # a window is open
    UNKNOWN = "UNKNOWN"  # no certain answer yet; it is queried
    MANUAL = "MANUAL"  # a person has to look; a certain answer is still taken
    SUCCEEDED = "SUCCEEDED"  # its money has paid the order
    REFUSED = "REFUSED"  # a certain no
    CLOSED = "CLOSED"  # the channel has confirmed that it can never be paid
    LATE_SUCCESS = "LATE_SUCCESS"  # its money came twice or late, and goes back


LIVE = frozenset(
    {
        AttemptState.PREPARED,
        AttemptState.SENT,
        AttemptState.OPEN,
        AttemptState.UNKNOWN,
        AttemptState.MANUAL,
    }
)
RECEIVED = frozenset({AttemptState.SUCCEEDED, AttemptState.LATE_SUCCESS})

_S = AttemptState
# Every move there is; the database refuses all others, too.
MOVES: dict[AttemptState, frozenset[AttemptState]] = {
    _S.PREPARED: frozenset({_S.SENT, _S.REFUSED}),
    _S.SENT: frozenset(
        {_S.OPEN, _S.UNKNOWN, _S.MANUAL, _S.SUCCEEDED, _S.REFUSED, _S.CLOSED, _S.LATE_SUCCESS}
    ),
    _S.OPEN: frozenset({_S.UNKNOWN, _S.MANUAL, _S.SUCCEEDED, _S.REFUSED, _S.CLOSED, _S.LATE_SUCCESS}),
    _S.UNKNOWN: frozenset({_S.OPEN, _S.MANUAL, _S.SUCCEEDED, _S.REFUSED, _S.CLOSED, _S.LATE_SUCCESS}),
    _S.MANUAL: frozenset({_S.SUCCEEDED, _S.REFUSED, _S.CLOSED, _S.LATE_SUCCESS}),
    _S.REFUSED: RECEIVED,
    _S.CLOSED: RECEIVED,
    _S.SUCCEEDED: frozenset(),
    _S.LATE_SUCCESS: frozenset(),
}


class Call(StrEnum):
    """Which question a channel's word answers; a notice answers none, and counts as a query."""

    OPEN = "open"
    QUERY = "query"
    CLOSE = "close"
    ABANDON = "abandon"  # none was asked: it is given up before anything was sent


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """An attempt as it is stored; amounts in minor units, columns in table order."""

    id: int
    pay_order_id: int
    channel: str
    kind: Kind
    state: AttemptState
    amount: int
    currency: str
    merchant: str
    created_at: datetime
    expires_at: datetime
    changed_at: datetime
    next_query_at: datetime | None
    queries: int
    reference: str
    qr_code: str
    redirect_url: str
    transaction_id: str | None
    code: str
    detail: str
    traceparent: str

    @property
    def live(self) -> bool:
        """Say whether its outcome is not final."""
        return self.state in LIVE

    @property
    def moves_money(self) -> bool:
        """Say whether it may be moving money at this moment, so that nothing else may try."""
        return self.live and self.kind is Kind.CALL


def charge_of(
    attempt: Attempt, order: PayOrder, notify_url: str = "", *, return_url: str = "", credential: str = ""
) -> Charge:
    """Return an attempt as its channel is told of it; addresses are for opening it only."""
    return Charge(
        attempt_id=str(attempt.id),
        pay_order_id=str(order.id),
        payer_id=order.payer_id,
        amount=attempt.amount,
        currency=attempt.currency,
        subject=order.subject,
        made_at=attempt.created_at,
        expires_at=attempt.expires_at,
        notify_url=notify_url,
        return_url=return_url,
        reference=attempt.reference,
        credential=credential,
    )
