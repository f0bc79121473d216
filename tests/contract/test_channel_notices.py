"""Notices of channels: what is believed of them, and what is refused."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from stages import CLOCK, EVERY_MODE, AlipayStage, Stage, StripeStage, WechatStage

from paybell.channels.answers import Paid
from paybell.channels.channel import Charge, Disputed, Heard, Notice, NoticeRefused
from paybell.sandbox.faults import Fault, Operation
from paybell.sandbox.stripe import StripeSimulator

pytestmark = pytest.mark.slow


@pytest.fixture(params=EVERY_MODE, ids=lambda stage: str(stage.__name__))
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with request.param().running() as running:
        yield running


async def paid(stage: Stage, amount: int = 1177) -> Charge:
    charge = stage.charge(amount)
    await stage.channel.open(charge)
    stage.pay(charge)
    return charge


def is_refused(stage: Stage, notice: Notice) -> bool:
    try:
        stage.channel.read_notice(notice)
    except NoticeRefused:
        return True
    return False


async def test_a_payment_is_told_with_its_number_once_it_is_taken(stage: Stage) -> None:
    charge = await paid(stage)
    [notice] = await stage.heard()

    heard = stage.channel.read_notice(notice)
    assert (heard.attempt_id, heard.refund_id) == (charge.attempt_id, "")
    # Stripe's are in no order: which object they are about is all that counts of them.
    success = Paid(1177, "CNY", stage.trade(charge).transaction_id, stage.channel.merchant)
    assert heard.said == (None if stage.name == "stripe" else success)


async def test_a_notice_that_was_not_taken_comes_again_under_the_same_number(stage: Stage) -> None:
    stage.refuses = 1
    await paid(stage)
    first, again = await stage.heard()

    assert stage.channel.read_notice(first) == stage.channel.read_notice(again)


async def test_a_duplicate_has_the_same_number(stage: Stage) -> None:
    stage.fault(Operation.NOTICE, Fault.DUPLICATE)
    await paid(stage)
    first, again = await stage.heard()

    assert stage.channel.read_notice(first).notice_id == stage.channel.read_notice(again).notice_id


async def test_a_refund_is_told_with_its_number(stage: Stage) -> None:
    charge = await paid(stage)
    back = stage.back(charge, 100)
    await stage.channel.refund(back)
    notices = await stage.heard()

    heard = stage.channel.read_notice(notices[-1])
    assert (heard.attempt_id, heard.refund_id, heard.said) == (charge.attempt_id, back.refund_id, None)


@pytest.mark.parametrize(
    "fault", [Fault.UNSIGNED, Fault.BAD_SIGNATURE, Fault.OLD_TIMESTAMP, Fault.UNKNOWN_KEY]
)
async def test_a_notice_that_is_not_signed_now_by_a_key_of_the_channel_is_refused(
    stage: Stage, fault: Fault
) -> None:
    if isinstance(stage, AlipayStage) and fault in {Fault.OLD_TIMESTAMP, Fault.UNKNOWN_KEY}:
        pytest.skip("Alipay signs neither; its numbers and the states of attempts are the defence")
    stage.fault(Operation.NOTICE, fault)
    await paid(stage)
    [notice] = await stage.heard()

    assert is_refused(stage, notice)


async def test_the_same_notice_a_year_later_is_refused_or_has_the_number_it_had(stage: Stage) -> None:
    await paid(stage)
    [notice] = await stage.heard()
    later = replace(notice, received_at=notice.received_at + timedelta(days=365))

    if isinstance(stage, AlipayStage):
        assert stage.channel.read_notice(later) == stage.channel.read_notice(notice)
    else:
        assert is_refused(stage, later)


async def test_a_single_byte_that_was_changed_is_noticed(stage: Stage) -> None:
    """Also one that leaves amount, number and form as they were."""
    await paid(stage)
    [notice] = await stage.heard()
    body = notice.body

    for place in range(0, len(body), 7):
        changed = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        assert is_refused(stage, replace(notice, body=changed)), body[place - 10 : place + 10]
    for cut in (b"", body[:-1], body[: len(body) // 2], body + b" ", b"\xff" * 100, b"{" * 60_000):
        assert is_refused(stage, replace(notice, body=cut))


async def test_headers_of_any_form_are_only_wrong(stage: Stage) -> None:
    await paid(stage)
    [notice] = await stage.heard()

    signed = {"wechatpay-signature", "wechatpay-timestamp", "wechatpay-serial", "stripe-signature"}
    for name in signed & set(notice.headers):
        value = notice.headers[name]
        for other in (
            "",
            "\udc80",
            "x" * 9000,
            f"WECHATPAY/SIGNTEST/{value}",
            "t=1,v1=\N{SNOWMAN}",
            value[1:],
        ):
            assert is_refused(stage, replace(notice, headers={**notice.headers, name: other})), (name, other)


async def test_what_was_paid_to_another_merchant_or_in_another_amount_is_said_as_it_is(stage: Stage) -> None:
    for fault in (Fault.WRONG_SELLER, Fault.WRONG_AMOUNT):
        stage.fault(Operation.NOTICE, fault)
        charge = await paid(stage)
        heard = stage.channel.read_notice((await stage.heard())[-1])
        if isinstance(stage, StripeStage):
            # Of the other mode it is nobody's; otherwise Stripe is asked, whatever it says.
            assert heard.attempt_id == ("" if fault is Fault.WRONG_SELLER else charge.attempt_id)
            assert heard.said is None
            continue
        assert isinstance(heard.said, Paid)
        assert (heard.said.merchant != stage.channel.merchant) == (fault is Fault.WRONG_SELLER)
        assert heard.said.amount == (1178 if fault is Fault.WRONG_AMOUNT else 1177)


async def test_the_second_key_of_a_rotation_signs_notices_too() -> None:
    for kind in (AlipayStage, WechatStage):
        async with kind().running() as stage:
            stage.fault(Operation.NOTICE, Fault.OTHER_KEY)
            charge = await paid(stage)
            [notice] = await stage.heard()
            assert stage.channel.read_notice(notice).attempt_id == charge.attempt_id


async def test_events_that_are_not_about_an_attempt_are_taken_and_say_nothing() -> None:
    async with StripeStage().running() as stage:
        heard = heard_of(stage, "charge.refunded", {"id": "ch_1", "object": "charge"})

        assert (heard.attempt_id, heard.refund_id, heard.said, heard.disputed) == ("", "", None, None)


@pytest.mark.parametrize(("event", "closed"), [("created", False), ("updated", False), ("closed", True)])
async def test_a_dispute_is_read_with_the_payment_it_is_about(event: str, closed: bool) -> None:
    dispute = {
        "id": "dp_1",
        "object": "dispute",
        "payment_intent": "pi_1",
        "amount": 1177,
        "currency": "usd",
        "reason": "fraudulent",
        "status": "needs_response",
    }
    async with StripeStage().running() as stage:
        heard = heard_of(stage, f"charge.dispute.{event}", dispute)

        assert heard.disputed == Disputed(
            "dp_1", "pi_1", 1177, "USD", "fraudulent", "needs_response", closed=closed
        )
        assert (heard.attempt_id, heard.said) == ("", None)


def heard_of(stage: Stage, event: str, content: dict[str, object]) -> Heard:
    """Return what is read of a signed event."""
    assert isinstance(stage.simulator, StripeSimulator)
    reply = stage.simulator.webhook("x", event, content)
    headers = {name.lower(): value for name, value in reply.headers.items()}
    return stage.channel.read_notice(Notice(headers, reply.body, CLOCK.now()))
