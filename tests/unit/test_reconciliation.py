"""The decision about one purchase of which pay and trade have each written something down."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from paybell.reconciliation.differences import Kind, classify
from paybell.reconciliation.entries import Entry, Standing

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def entry(standing: Standing, refunded: int = 0) -> Entry:
    """Make one side's row."""
    return Entry(5001, 1001, "7", 100, refunded, "CNY", standing.name, standing, NOW)


OPEN, CLOSED, PAID = entry(Standing.OPEN), entry(Standing.CLOSED), entry(Standing.PAID)
PARTLY, REFUNDED = entry(Standing.PAID, 40), entry(Standing.REFUNDED, 100)
CANCELLED_PARTLY = entry(Standing.CLOSED, 40)


@pytest.mark.parametrize(
    ("pay", "trade", "kind"),
    [
        (OPEN, OPEN, None),
        (PAID, PAID, None),
        (CLOSED, CLOSED, None),
        (REFUNDED, REFUNDED, None),
        (PARTLY, PARTLY, None),
        (OPEN, None, None),
        (CLOSED, None, None),
        (None, replace(OPEN, pay_order_id=None), None),
        (OPEN, replace(OPEN, pay_order_id=None), None),
        (PAID, OPEN, Kind.PAYMENT_NOT_HEARD),
        (REFUNDED, OPEN, Kind.PAYMENT_NOT_HEARD),
        (CLOSED, OPEN, Kind.CLOSE_NOT_HEARD),
        (PARTLY, PAID, Kind.REFUND_NOT_HEARD),
        (REFUNDED, PARTLY, Kind.REFUND_NOT_HEARD),
        (REFUNDED, CLOSED, Kind.REFUND_NOT_HEARD),
        (PAID, CLOSED, Kind.PAID_BUT_CANCELLED),
        (PARTLY, CANCELLED_PARTLY, Kind.PAID_BUT_CANCELLED),
        (OPEN, CLOSED, Kind.CANCELLED_BUT_OPEN),
        (OPEN, PAID, Kind.PAID_WITHOUT_PAYMENT),
        (CLOSED, PAID, Kind.PAID_WITHOUT_PAYMENT),
        (None, PAID, Kind.PAID_WITHOUT_PAYMENT),
        (PAID, None, Kind.PAID_WITHOUT_ORDER),
        (None, OPEN, Kind.PAY_ORDER_MISSING),
        (PAID, PARTLY, Kind.DIFFERENT_TERMS),
        (PAID, replace(PAID, amount=99), Kind.DIFFERENT_TERMS),
        (PAID, replace(PAID, user_id="8"), Kind.DIFFERENT_TERMS),
        (PAID, replace(PAID, currency="USD"), Kind.DIFFERENT_TERMS),
        (PAID, replace(PAID, pay_order_id=9), Kind.DIFFERENT_TERMS),
    ],
)
def test_every_pair_of_rows_has_a_name_or_nothing_wrong(
    pay: Entry | None, trade: Entry | None, kind: Kind | None
) -> None:
    assert classify(pay, trade) is kind
