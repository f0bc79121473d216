"""Promise 7, at the order service: what is heard in any order, late, twice or forged ends in one state."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import msgspec
import pytest
from shop import SECRET, Shop, shop
from support import codes, seeded

from paybell.messaging.broker import Delivery
from paybell.messaging.events import (
    CLOUDEVENTS_JSON,
    PAY_CLOSED,
    PAY_EVENTS,
    PAY_REFUNDED,
    SIGNATURE_HEADER,
    PayOrderData,
    PayOrderEvent,
)
from paybell.messaging.signatures import EventKeys
from paybell.storage import Database
from paybell.trade.model import Order, OrderStatus
from paybell.trade.order_checker import CHECK_SECONDS, DEADLINE_GRACE_SECONDS, LATER_SECONDS, next_check

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PRICE = 100


def order(**changes: Any) -> Order:
    """Make an unpaid order of two hours ago."""
    made = Order(
        id=1,
        buyer_id="7",
        total_fee=PRICE,
        currency="CNY",
        subject="",
        status=OrderStatus.UNPAID,
        pay_order_id=1001,
        created_at=NOW - timedelta(hours=2),
        paid_at=None,
        cancelled_at=None,
        version=0,
        refunded_amount=0,
    )
    return replace(made, **changes)


def said(version: int, status: str, refunded_amount: int = 0, **changes: Any) -> PayOrderData:
    """Make what pay says in a version."""
    data = PayOrderData(
        pay_order_id="1001",
        biz_order_no="1",
        merchant_id="1",
        payer_id="7",
        amount=PRICE,
        currency="CNY",
        subject="",
        status=status,
        version=version,
        created_at=NOW - timedelta(hours=2),
        expires_at=NOW,
        succeeded_at=NOW if status == "TRADE_SUCCESS" else None,
        closed_at=NOW if status == "TRADE_CLOSED" else None,
        refunded_amount=refunded_amount,
    )
    return msgspec.structs.replace(data, **changes)


PAID, SOME_BACK, ALL_BACK = (
    said(2, "TRADE_SUCCESS"),
    said(3, "TRADE_SUCCESS", 40),
    said(4, "TRADE_SUCCESS", PRICE),
)


@pytest.mark.parametrize("told", list(permutations([PAID, SOME_BACK, ALL_BACK, SOME_BACK])), ids=str)
def test_whatever_comes_first_an_order_ends_where_its_newest_version_says(
    told: tuple[PayOrderData, ...],
) -> None:
    """And on the way it never goes back."""
    heard, refunded = order(), [0]
    for one in told:
        heard = heard.with_pay_order(one, NOW)
        refunded.append(heard.refunded_amount)

    assert (heard.status, heard.version, heard.refunded_amount) == (OrderStatus.REFUNDED, 4, PRICE)
    assert refunded == sorted(refunded)


def test_a_closed_pay_order_cancels_an_unpaid_order_only() -> None:
    closed = said(2, "TRADE_CLOSED")

    assert order().with_pay_order(closed, NOW).status is OrderStatus.CANCELLED
    paid = order(status=OrderStatus.PAID, paid_at=NOW)
    assert paid.with_pay_order(closed, NOW).status is OrderStatus.PAID


def test_a_payment_of_a_cancelled_order_is_kept_and_revives_nothing() -> None:
    cancelled = order(status=OrderStatus.CANCELLED, cancelled_at=NOW, version=1)

    heard = cancelled.with_pay_order(PAID, NOW)

    assert (heard.status, heard.paid_at, heard.version) == (OrderStatus.CANCELLED, NOW, 2)


@pytest.mark.parametrize("other", [{"amount": 99}, {"currency": "USD"}, {"pay_order_id": "9"}], ids=str)
def test_what_is_said_of_other_money_changes_nothing(other: dict[str, Any]) -> None:
    assert order().with_pay_order(said(2, "TRADE_SUCCESS", **other), NOW) == order()


def test_questions_come_after_ten_seconds_a_minute_ten_minutes_and_at_the_deadline() -> None:
    """Then each minute, until pay has closed what has fallen due; never for what pay knows nothing of."""
    made = order(created_at=NOW)
    later = said(1, "WAIT_BUYER_PAY", expires_at=NOW + timedelta(hours=2))

    waits = [next_check(made, asked, later, NOW) for asked in range(1, 4)]

    assert CHECK_SECONDS == (10.0, 60.0, 600.0)
    after = [NOW + timedelta(seconds=seconds) for seconds in (60, 600, 7200 + DEADLINE_GRACE_SECONDS)]
    assert waits == after
    overdue = NOW + timedelta(hours=3)
    assert next_check(made, 4, later, overdue) == overdue + timedelta(seconds=LATER_SECONDS)
    assert next_check(made, 3, None, NOW) is None


# On the wire -------------------------------------------------------------------------------------


def typed(data: PayOrderData, event_type: str, *, secret: str | None = SECRET) -> Delivery:
    """Make the delivery of a typed event."""
    event = PayOrderEvent(f"{data.pay_order_id}-{data.version}", event_type, NOW, data.biz_order_no, data, "")
    body = msgspec.json.encode(event)
    headers = {} if secret is None else {SIGNATURE_HEADER: EventKeys(token_secret=secret).sign_event(body)}
    return Delivery(1, PAY_EVENTS.name, event_type, body, CLOUDEVENTS_JSON, "m", headers)


async def paid_order(both: Shop) -> PayOrderData:
    """Make order 1, paid and heard of; return what pay says of it."""
    await both.pay.fund("7", PRICE)
    made = await both.order(1, "7", PRICE)
    assert made.pay_order_id is not None
    assert codes([await both.pay.attempt(made.pay_order_id, "7")]) == ["paid"]
    await both.take(*await both.told())
    return (await both.client.states_of([1]))[1]


async def test_a_forged_event_refunds_and_closes_nothing(
    pay_database: Database, trade_database: Database
) -> None:
    """Unsigned, or signed by somebody else, it must be what pay itself says; it is kept for a person."""
    async with shop(pay_database, trade_database) as both:
        true = await paid_order(both)
        forged = msgspec.structs.replace(true, version=9, refunded_amount=PRICE)

        await both.take(
            typed(forged, PAY_REFUNDED, secret=None), typed(forged, PAY_REFUNDED, secret="x" * 32)
        )
        await both.take(typed(true, PAY_REFUNDED, secret=None))

        assert await both.statuses() == {1: "PAID"}
        kept = await both.kept()
        assert {(row["state"], row["reason"]) for row in kept} == {("dead", "not_confirmed")}


async def test_other_merchants_events_pass_by(pay_database: Database, trade_database: Database) -> None:
    """The exchange carries everybody's; an equal order number is no reason to listen."""
    async with shop(pay_database, trade_database) as both:
        true = await paid_order(both)
        other = msgspec.structs.replace(true, merchant_id="2", version=9, refunded_amount=PRICE)

        await both.take(typed(other, PAY_REFUNDED), typed(other, PAY_CLOSED))

        assert await both.statuses() == {1: "PAID"}
        assert await both.kept() == []


async def test_a_batch_of_versions_in_any_order_ends_in_the_newest(
    pay_database: Database, trade_database: Database
) -> None:
    """Also when several of one order come in one batch, twice."""
    rng = seeded()
    async with shop(pay_database, trade_database) as both:
        true = await paid_order(both)
        versions = [
            msgspec.structs.replace(true, version=2 + n, refunded_amount=10 * n) for n in range(1, 11)
        ]
        told = [typed(one, PAY_REFUNDED) for one in versions] * 2
        rng.shuffle(told)

        await both.hearing.apply(told)

        assert await both.statuses() == {1: "REFUNDED"}
        assert await both.kept() == []
