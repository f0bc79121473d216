"""The life of a pay order, every pair of status and event."""

from itertools import product

import pytest

from paybell.pay.status import OPEN, PayEvent, PayStatus, advance

# Written by hand: the table in the program must not be compared with itself.
EXPECTED = {
    (PayStatus.NOT_COMMIT, PayEvent.PAID): PayStatus.TRADE_SUCCESS,
    (PayStatus.NOT_COMMIT, PayEvent.CLOSED): PayStatus.TRADE_CLOSED,
    (PayStatus.WAIT_BUYER_PAY, PayEvent.PAID): PayStatus.TRADE_SUCCESS,
    (PayStatus.WAIT_BUYER_PAY, PayEvent.CLOSED): PayStatus.TRADE_CLOSED,
    (PayStatus.TRADE_CLOSED, PayEvent.PAID): None,
    (PayStatus.TRADE_CLOSED, PayEvent.CLOSED): None,
    (PayStatus.TRADE_SUCCESS, PayEvent.PAID): None,
    (PayStatus.TRADE_SUCCESS, PayEvent.CLOSED): None,
}


@pytest.mark.parametrize(("status", "event"), list(product(PayStatus, PayEvent)), ids=str)
def test_every_pair_leads_where_it_should(status: PayStatus, event: PayEvent) -> None:
    """A refusal is specified as carefully as a success; a pair without a line here fails."""
    assert advance(status, event) == EXPECTED[status, event]


def test_a_final_status_is_never_left() -> None:
    assert {PayStatus.NOT_COMMIT, PayStatus.WAIT_BUYER_PAY} == OPEN


def test_the_codes_are_those_of_the_articles_world() -> None:
    assert {status.name: status.value for status in PayStatus} == {
        "NOT_COMMIT": 0,
        "WAIT_BUYER_PAY": 1,
        "TRADE_CLOSED": 2,
        "TRADE_SUCCESS": 3,
    }
