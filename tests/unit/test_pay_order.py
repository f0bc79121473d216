"""The pay order as a value."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from paybell.errors import AlreadyPaid, PayOrderClosed
from paybell.pay.errors import PayOrderMismatch
from paybell.pay.model import Application, PayOrder
from paybell.pay.status import PayStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)
APPLICATION = Application("1", 5001, "7", 100, "CNY", "a book", 600)
WAITING = PayOrder(
    id=1001,
    merchant_id="1",
    biz_order_no=5001,
    payer_id="7",
    payee_account=3,
    amount=100,
    currency="CNY",
    subject="a book",
    status=PayStatus.WAIT_BUYER_PAY,
    version=1,
    created_at=NOW,
    expires_at=NOW + timedelta(minutes=10),
    succeeded_at=None,
    closed_at=None,
    refunded_amount=0,
)
LATER = NOW + timedelta(minutes=1)


def test_paying_makes_a_new_version_and_leaves_the_old_one_alone() -> None:
    paid = WAITING.pay(LATER)

    assert (paid.status, paid.version, paid.succeeded_at) == (PayStatus.TRADE_SUCCESS, 2, LATER)
    assert (WAITING.status, WAITING.version, WAITING.succeeded_at) == (PayStatus.WAIT_BUYER_PAY, 1, None)


@pytest.mark.parametrize("final", [WAITING.pay(LATER), WAITING.close(LATER)], ids=["paid", "closed"])
def test_a_final_order_refuses_both_events(final: PayOrder) -> None:
    """Whoever asks without looking has a bug, and the transaction must not go on."""
    with pytest.raises(AssertionError):
        final.pay(LATER)
    with pytest.raises(AssertionError):
        final.close(LATER)


def test_an_order_says_why_it_cannot_be_paid() -> None:
    end = WAITING.expires_at

    assert WAITING.refusal(end - timedelta(microseconds=1)) is None
    assert isinstance(WAITING.refusal(end), PayOrderClosed)
    assert isinstance(WAITING.close(LATER).refusal(LATER), PayOrderClosed)
    for moment in (LATER, end + timedelta(days=1)):
        refusal = WAITING.pay(LATER).refusal(moment)
        assert isinstance(refusal, AlreadyPaid)
        assert refusal.extensions == {"payOrderId": "1001"}


def test_an_application_is_answered_by_the_order_it_describes() -> None:
    """Merchant and number found it; amount, currency and payer have to agree, the rest may differ."""
    assert APPLICATION.answer(WAITING, LATER) is None
    for other in (
        Application("1", 5001, "8", 100, "CNY", "a book", 600),
        Application("1", 5001, "7", 101, "CNY", "a book", 600),
        Application("1", 5001, "7", 100, "USD", "a book", 600),
    ):
        assert isinstance(other.answer(WAITING, LATER), PayOrderMismatch)
        assert isinstance(other.answer(WAITING.pay(LATER), LATER), PayOrderMismatch)
    assert Application("1", 5001, "7", 100, "CNY", "the same book", 5).answer(WAITING, LATER) is None
    assert isinstance(APPLICATION.answer(WAITING.pay(LATER), LATER), AlreadyPaid)
    assert isinstance(APPLICATION.answer(WAITING.close(LATER), LATER), PayOrderClosed)
    assert isinstance(APPLICATION.answer(WAITING, WAITING.expires_at), PayOrderClosed)


def test_an_event_has_the_same_id_however_often_it_is_made() -> None:
    """Made from the order and its version alone, so that a double is recognised."""
    paid = WAITING.pay(LATER)
    first, again = (paid.event("pay.success", moment, trace) for moment, trace in ((LATER, "a"), (NOW, "b")))

    assert first.id == again.id == "1001-2"
    assert first.id != WAITING.event("pay.success", NOW, "").id


def test_an_event_tells_the_whole_order() -> None:
    """Ids are strings, the amount an integer, times are RFC 3339 in UTC."""
    event = msgspec.to_builtins(WAITING.pay(LATER).event("pay.success", LATER, "trace"))

    assert event == {
        "id": "1001-2",
        "type": "pay.success",
        "source": "/paybell/pay",
        "specversion": "1.0",
        "time": "2026-01-01T00:01:00Z",
        "subject": "5001",
        "datacontenttype": "application/json",
        "traceparent": "trace",
        "data": {
            "payOrderId": "1001",
            "bizOrderNo": "5001",
            "merchantId": "1",
            "payerId": "7",
            "amount": 100,
            "currency": "CNY",
            "subject": "a book",
            "status": "TRADE_SUCCESS",
            "version": 2,
            "createdAt": "2026-01-01T00:00:00Z",
            "expiresAt": "2026-01-01T00:10:00Z",
            "succeededAt": "2026-01-01T00:01:00Z",
            "closedAt": None,
            "refundedAmount": 0,
            "channel": "balance",
        },
    }
