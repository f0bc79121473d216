"""The life of a pay order, as a table."""

from enum import IntEnum, StrEnum


class PayStatus(IntEnum):
    """Names and codes of the payment service that Paybell replaces."""

    NOT_COMMIT = 0
    WAIT_BUYER_PAY = 1
    TRADE_CLOSED = 2
    TRADE_SUCCESS = 3


class PayEvent(StrEnum):
    """What can happen to a pay order."""

    PAID = "paid"
    CLOSED = "closed"


TRANSITIONS: dict[tuple[PayStatus, PayEvent], PayStatus] = {
    (PayStatus.NOT_COMMIT, PayEvent.PAID): PayStatus.TRADE_SUCCESS,
    (PayStatus.NOT_COMMIT, PayEvent.CLOSED): PayStatus.TRADE_CLOSED,
    (PayStatus.WAIT_BUYER_PAY, PayEvent.PAID): PayStatus.TRADE_SUCCESS,
    (PayStatus.WAIT_BUYER_PAY, PayEvent.CLOSED): PayStatus.TRADE_CLOSED,
}


def advance(status: PayStatus, event: PayEvent) -> PayStatus | None:
    """Return the status after the event, None if it may not happen now."""
    return TRANSITIONS.get((status, event))


# The statuses an order can still be paid or closed in; `queries.sql` names the same two.
OPEN = frozenset(status for status, _ in TRANSITIONS)
