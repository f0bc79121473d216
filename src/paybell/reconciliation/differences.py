"""The decision about one purchase: do both sides say the same, and if not, what is it called. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from paybell.reconciliation.entries import Entry, Standing


class Kind(StrEnum):
    """In which way the two sides differ."""

    PAYMENT_NOT_HEARD = "payment_not_heard"
    CLOSE_NOT_HEARD = "close_not_heard"
    REFUND_NOT_HEARD = "refund_not_heard"
    PAID_BUT_CANCELLED = "paid_but_cancelled"
    PAID_WITHOUT_PAYMENT = "paid_without_payment"
    PAID_WITHOUT_ORDER = "paid_without_order"
    CANCELLED_BUT_OPEN = "cancelled_but_open"
    PAY_ORDER_MISSING = "pay_order_missing"
    DIFFERENT_TERMS = "different_terms"


# Pay's event was not delivered to trade, or not acted on: publishing it again is the repair.
REPUBLISHABLE = frozenset(
    {Kind.PAYMENT_NOT_HEARD, Kind.CLOSE_NOT_HEARD, Kind.REFUND_NOT_HEARD, Kind.PAID_BUT_CANCELLED}
)
_PAID = (Standing.PAID, Standing.REFUNDED)

_STANDINGS = {
    (Standing.PAID, Standing.OPEN): Kind.PAYMENT_NOT_HEARD,
    (Standing.PAID, Standing.CLOSED): Kind.PAID_BUT_CANCELLED,
    (Standing.REFUNDED, Standing.OPEN): Kind.PAYMENT_NOT_HEARD,
    (Standing.REFUNDED, Standing.CLOSED): Kind.REFUND_NOT_HEARD,
    (Standing.CLOSED, Standing.OPEN): Kind.CLOSE_NOT_HEARD,
    (Standing.OPEN, Standing.CLOSED): Kind.CANCELLED_BUT_OPEN,
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One purchase of which the two sides do not say the same."""

    number: int
    kind: Kind
    pay: Entry | None
    trade: Entry | None


def classify(pay: Entry | None, trade: Entry | None) -> Kind | None:
    """Name what is wrong between a pay order and an order of the same number; None if nothing is.

    A pay order nobody has paid needs no order, and an order may not have its pay order yet: creating
    one is two steps. Money makes the difference.
    """
    if pay is not None and trade is not None:
        return _compare(pay, trade)
    if pay is not None:
        return Kind.PAID_WITHOUT_ORDER if pay.standing in _PAID else None
    if trade is not None and trade.standing in _PAID:
        return Kind.PAID_WITHOUT_PAYMENT
    return Kind.PAY_ORDER_MISSING if trade is not None and trade.pay_order_id is not None else None


def _compare(pay: Entry, trade: Entry) -> Kind | None:
    if trade.standing in _PAID and pay.standing not in _PAID:
        return Kind.PAID_WITHOUT_PAYMENT
    if _terms(pay) != _terms(trade) or trade.pay_order_id not in (None, pay.pay_order_id):
        return Kind.DIFFERENT_TERMS
    if pay.refunded < trade.refunded:
        return Kind.DIFFERENT_TERMS
    known = _STANDINGS.get((pay.standing, trade.standing))
    return known or (Kind.REFUND_NOT_HEARD if pay.refunded > trade.refunded else None)


def _terms(entry: Entry) -> tuple[str, int, str]:
    return entry.user_id, entry.amount, entry.currency
