"""What every channel promises, whatever its wire format: each over its simulator, with real signatures."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from rsa_keys import key_pair
from stages import (
    API_KEY,
    CLOCK,
    EVERY_MODE,
    OUR_KEY,
    STRANGERS_KEY,
    AlipayCertificateStage,
    AlipayStage,
    Stage,
    StripeStage,
    WechatStage,
)

from paybell.channels.alipay import bill as alipay
from paybell.channels.answers import (
    Closed,
    NotFound,
    NotSent,
    Opened,
    Paid,
    RefundAccepted,
    RefundDone,
    RefundFailed,
    Refused,
    Unknown,
    Waiting,
)
from paybell.channels.bills import Entry, Key
from paybell.channels.channel import Charge, Kind
from paybell.channels.errors import ChannelUnavailable
from paybell.channels.keyring import Keyring
from paybell.channels.stripe.api import StripeApi
from paybell.channels.stripe.report import read_report
from paybell.channels.stripe.signing import ApiKey
from paybell.channels.wechat import bill as wechat
from paybell.sandbox.books import NotPossible
from paybell.sandbox.faults import Fault, Operation
from paybell.testing import FrozenClock
from paybell.testing.ports import free_port

pytestmark = pytest.mark.slow

# After these nobody can know anything from the answer itself.
DOUBTS = (
    Fault.LOSE_REQUEST,
    Fault.LOSE_ANSWER,
    Fault.FAIL_BEFORE,
    Fault.FAIL_AFTER,
    Fault.HTML_502,
    Fault.TRUNCATED,
    Fault.RATE_LIMITED,
)
NOTHING_DONE = {Fault.LOSE_REQUEST, Fault.FAIL_BEFORE, Fault.HTML_502, Fault.RATE_LIMITED}


@pytest.fixture(params=EVERY_MODE, ids=lambda stage: str(stage.__name__))
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with request.param().running() as running:
        yield running


async def opened(stage: Stage, amount: int = 1177) -> Charge:
    charge = stage.charge(amount)
    said = await stage.channel.open(charge)
    assert isinstance(said, Opened)
    assert said.qr_code or said.redirect_url
    stage.scan(charge)
    return replace(charge, reference=said.reference)


async def paid(stage: Stage, amount: int = 1177) -> Charge:
    charge = await opened(stage, amount)
    stage.pay(charge)
    return charge


def success(stage: Stage, charge: Charge) -> Paid:
    return Paid(charge.amount, "CNY", stage.trade(charge).transaction_id, stage.channel.merchant)


async def test_a_window_is_paid_and_says_what_moved_for_whom(stage: Stage) -> None:
    charge = await opened(stage)
    assert await stage.channel.query(charge) == Waiting()

    stage.pay(charge)

    assert await stage.channel.query(charge) == success(stage, charge)
    assert stage.books(charge) == (1177, 0)


async def test_opening_again_with_the_same_number_is_the_same_window(stage: Stage) -> None:
    charge = stage.charge()
    first, again = await stage.channel.open(charge), await stage.channel.open(charge)

    assert first == again
    assert isinstance(first, Opened)
    assert len(list(stage.simulator.books)) == 1


async def test_the_same_number_for_another_amount_opens_nothing(stage: Stage) -> None:
    charge = await opened(stage)
    said = await stage.channel.open(replace(charge, amount=1))

    assert isinstance(said, Unknown)
    assert stage.trade(charge).amount == 1177


async def test_a_closed_window_cannot_be_paid(stage: Stage) -> None:
    charge = await opened(stage)

    assert await stage.channel.close(charge) == Closed()
    assert await stage.channel.query(charge) == Closed()
    with pytest.raises(NotPossible):
        stage.pay(charge)
    assert await stage.channel.close(charge) == Closed()


async def test_closing_what_was_paid_says_so(stage: Stage) -> None:
    charge = await paid(stage)
    assert await stage.channel.close(charge) == success(stage, charge)


async def test_a_buyer_who_is_faster_than_the_close_has_paid(stage: Stage) -> None:
    charge = await opened(stage)
    stage.fault(Operation.CLOSE, Fault.PAY_MEANWHILE)
    assert await stage.channel.close(charge) == success(stage, charge)


async def test_a_number_the_channel_never_saw_is_not_found(stage: Stage) -> None:
    """Never "closed": a request of ours could still be on its way."""
    charge = replace(stage.charge(), reference="cs_test_unknown" if stage.name == "stripe" else "")

    assert await stage.channel.query(charge) in (NotFound(), Unknown("resource_missing"))
    assert not isinstance(await stage.channel.close(charge), Closed)


async def test_what_is_not_known_at_first_may_be_paid_afterwards(stage: Stage) -> None:
    charge = await opened(stage)
    stage.fault(Operation.QUERY, Fault.NOT_FOUND)

    assert isinstance(await stage.channel.query(charge), NotFound | Unknown)
    stage.pay(charge)
    assert await stage.channel.query(charge) == success(stage, charge)


@pytest.mark.parametrize("fault", DOUBTS)
async def test_a_spoilt_call_is_unknown_and_asking_again_says_what_happened(
    stage: Stage, fault: Fault
) -> None:
    charge = stage.charge()
    stage.fault(Operation.OPEN, fault)
    assert isinstance(await stage.channel.open(charge), Unknown)
    assert (stage.simulator.books.find(charge.attempt_id) is None) == (fault in NOTHING_DONE)
    said = await stage.channel.query(charge)
    assert isinstance(
        said, Waiting if stage.simulator.books.find(charge.attempt_id) and stage.known_at_once else NotFound
    )

    charge = await opened(stage)
    stage.fault(Operation.QUERY, fault)
    assert isinstance(await stage.channel.query(charge), Unknown)

    stage.fault(Operation.CLOSE, fault)
    assert isinstance(await stage.channel.close(charge), Unknown | Closed)
    assert isinstance(await stage.channel.query(charge), Waiting if fault in NOTHING_DONE else Closed)
    assert await stage.channel.close(charge) == Closed()


@pytest.mark.parametrize("fault", DOUBTS)
async def test_a_refund_in_doubt_is_made_once(stage: Stage, fault: Fault) -> None:
    charge = await paid(stage)
    back = stage.back(charge, 100)
    stage.fault(Operation.REFUND, fault)

    assert isinstance(await stage.channel.refund(back), Unknown)
    assert stage.books(charge) == (1177, 0 if fault in NOTHING_DONE else 100)

    again = await stage.channel.refund(back)
    if not isinstance(again, RefundDone):
        again = await stage.channel.query_refund(back)
    # A fault that Stripe keeps for a key is only seen through by looking.
    assert isinstance(again, RefundDone)
    assert stage.books(charge) == (1177, 100)


@pytest.mark.parametrize("minutes", [0, 50], ids=["at once", "opened again later"])
async def test_a_session_whose_answer_was_lost_is_found_among_thousands(minutes: int) -> None:
    """Stripe finds a session by when it was made only; a busy shop makes thousands an hour."""
    async with StripeStage().running() as stage:
        old, charge = stage.charge(), stage.charge()
        assert isinstance(await stage.channel.open(old), Opened)
        example, clock = stage.trade(old), stage.simulator.clock
        clock.advance(60 * minutes)
        stage.fault(Operation.OPEN, Fault.LOSE_ANSWER)
        assert isinstance(await stage.channel.open(charge), Unknown)
        for number in range(1_900 if minutes else 2_100):
            clock.advance(1)
            token = f"cs_test_{number}"
            stage.simulator.books.open(
                replace(example, number=token, token=token, parameters=b"", made_at=clock.now())
            )

        stage.pay(charge)
        assert await stage.channel.query(charge) == success(stage, charge)


async def test_an_answer_that_lies_about_its_type_is_read_all_the_same(stage: Stage) -> None:
    charge = await paid(stage)
    stage.fault(Operation.QUERY, Fault.WRONG_TYPE)
    assert await stage.channel.query(charge) == success(stage, charge)


@pytest.mark.parametrize(
    "fault", [Fault.BAD_SIGNATURE, Fault.UNSIGNED, Fault.UNKNOWN_KEY, Fault.OLD_TIMESTAMP]
)
async def test_an_answer_that_the_channel_has_not_signed_says_nothing(fault: Fault) -> None:
    for kind in (AlipayStage, WechatStage):
        if kind is AlipayStage and fault in {Fault.UNKNOWN_KEY, Fault.OLD_TIMESTAMP}:
            continue  # its answers carry neither
        async with kind().running() as stage:
            charge = await paid(stage)
            back = stage.back(charge, 1)
            stage.fault(Operation.QUERY, fault, 2)
            for operation in (Operation.OPEN, Operation.CLOSE, Operation.REFUND, Operation.QUERY_REFUND):
                stage.fault(operation, fault)

            assert isinstance(await stage.channel.query(charge), Unknown)
            assert isinstance(await stage.channel.open(stage.charge()), Unknown)
            assert isinstance(await stage.channel.close(charge), Unknown)
            assert isinstance(await stage.channel.refund(back), Unknown)
            assert isinstance(await stage.channel.query_refund(back), Unknown)


async def test_both_keys_of_a_rotation_are_believed() -> None:
    for kind in (AlipayStage, WechatStage):
        async with kind().running() as stage:
            charge = await paid(stage)
            stage.fault(Operation.QUERY, Fault.OTHER_KEY)
            assert await stage.channel.query(charge) == success(stage, charge)


async def test_nothing_is_sent_where_nobody_listens(stage: Stage) -> None:
    channel = stage.make_channel(f"http://127.0.0.1:{free_port()}", 0)
    charge = await paid(stage)
    back = stage.back(charge, 1)

    assert isinstance(await channel.open(stage.charge()), NotSent)
    assert isinstance(await channel.query(charge), NotSent)
    assert isinstance(await channel.close(charge), NotSent)
    assert isinstance(await channel.refund(back), NotSent)
    assert isinstance(await channel.query_refund(back), NotSent)


async def test_who_signs_with_a_key_the_channel_does_not_know_gets_nothing_done(stage: Stage) -> None:
    channel = stage.make_channel(stage.url, STRANGERS_KEY)
    charge = await paid(stage)

    assert isinstance(await channel.open(stage.charge()), Refused | Unknown)
    assert isinstance(await channel.query(charge), Unknown)
    assert isinstance(await channel.close(charge), Unknown)
    assert isinstance(await channel.refund(stage.back(charge, 1)), Unknown)
    assert stage.books(charge) == (1177, 0)
    assert len(list(stage.simulator.books)) == 1


async def test_another_amount_and_another_merchant_are_said_as_they_are(stage: Stage) -> None:
    """Comparing them is the core's: it takes nothing that differs."""
    charge = await paid(stage)
    stage.fault(Operation.QUERY, Fault.WRONG_AMOUNT)
    assert await stage.channel.query(charge) == replace(success(stage, charge), amount=1178)

    if stage.name != "alipay":  # what its queries answer names no merchant; its notices do
        stage.fault(Operation.QUERY, Fault.WRONG_SELLER)
        said = await stage.channel.query(charge)
        assert isinstance(said, Paid)
        assert said.merchant != stage.channel.merchant


# Refunds -----------------------------------------------------------------------------------------


async def test_parts_go_back_each_once_and_never_more_than_was_paid(stage: Stage) -> None:
    charge = await paid(stage)
    first, second = stage.back(charge, 1000), stage.back(charge, 177)

    assert await stage.channel.query_refund(first) == NotFound()
    assert isinstance(await stage.channel.refund(first), RefundDone)
    assert isinstance(await stage.channel.refund(first), RefundDone | RefundAccepted)
    assert isinstance(await stage.channel.refund(second), RefundDone)
    assert isinstance(await stage.channel.query_refund(second), RefundDone)
    assert stage.books(charge) == (1177, 1177)
    assert isinstance(await stage.channel.refund(stage.back(charge, 1)), RefundFailed)
    assert await stage.channel.query(charge) == success(stage, charge)


@pytest.mark.parametrize("fault", [Fault.REFUND_PENDING, Fault.REFUND_FAILS])
async def test_an_accepted_refund_is_not_a_finished_one(stage: Stage, fault: Fault) -> None:
    charge = await paid(stage)
    back = stage.back(charge, 100)
    stage.fault(Operation.REFUND, fault)

    assert await stage.channel.refund(back) == RefundAccepted()
    before = await stage.channel.query_refund(back)
    assert isinstance(before, RefundAccepted | NotFound)
    await stage.simulator.idle()

    after = await stage.channel.query_refund(back)
    if fault is Fault.REFUND_PENDING:
        assert isinstance(after, RefundDone)
    else:
        assert isinstance(after, RefundFailed | NotFound)
        if after == NotFound():  # where a failure leaves no trace, the same refund is asked for again
            assert isinstance(await stage.channel.refund(back), RefundDone)
            return
    assert stage.books(charge) == (1177, 100 if fault is Fault.REFUND_PENDING else 0)


# What it is offered for ------------------------------------------------------------------------------


async def test_what_a_channel_cannot_take_it_is_not_offered_for(stage: Stage) -> None:
    offer, long = stage.channel.offer, timedelta(hours=2)

    assert stage.channel.kind is Kind.WINDOW
    assert offer.covers(1, "CNY", long)
    assert not offer.covers(10**12, "CNY", long)
    assert not offer.covers(1, "KWD", long)
    assert not offer.covers(1, "CNY", timedelta(seconds=30))
    assert offer.covers(1, "USD", long) == (stage.name == "stripe")


def test_a_charge_shows_no_secret() -> None:
    charge = Charge("1", "1", "1", 1, "CNY", "", CLOCK.now(), CLOCK.now(), credential="hunter2")
    assert "hunter2" not in repr(charge)


# Bills ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "read"), [(AlipayStage, alipay.read_bill), (WechatStage, wechat.read_bill)])
async def test_the_channels_own_bill_says_what_moved(
    kind: type[Stage], read: Callable[[bytes], Mapping[Key, Entry]]
) -> None:
    async with kind().running() as stage:
        first, second = await paid(stage), await paid(stage, 100)
        await opened(stage)
        back = stage.back(first, 77)
        await stage.channel.refund(back)

        assert read(stage.simulator.bill()) == {
            Key("payment", first.attempt_id): Entry(1177, "CNY", stage.trade(first).transaction_id),
            Key("payment", second.attempt_id): Entry(100, "CNY", stage.trade(second).transaction_id),
            Key("refund", back.refund_id): Entry(77, "CNY", stage.trade(first).transaction_id),
        }


async def test_stripes_balance_report_says_what_moved() -> None:
    """In pages, without what is neither a payment nor a refund."""
    async with StripeStage().running() as stage:
        charges = [await paid(stage, number) for number in range(101, 124)]
        back = stage.back(charges[0], 77)
        await stage.channel.refund(back)
        api = StripeApi(stage.url, stage.http, Keyring("PAYBELL_STRIPE_API_KEYS", API_KEY, ApiKey))
        said = await read_report(api, CLOCK.now() - timedelta(days=1), CLOCK.now())

        payments = {
            Key("payment", one.attempt_id): Entry(one.amount, "CNY", stage.trade(one).transaction_id)
            for one in charges
        }
        assert said == payments | {
            Key("refund", back.refund_id): Entry(77, "CNY", stage.trade(charges[0]).transaction_id)
        }
        stage.fault(Operation.QUERY, Fault.HTML_502)
        with pytest.raises(ChannelUnavailable):
            await read_report(api, CLOCK.now() - timedelta(days=1), CLOCK.now())


async def test_a_refund_is_made_once_also_when_stripe_has_forgotten_its_key() -> None:
    clock = FrozenClock()
    async with StripeStage(clock).running() as stage:
        charge = await paid(stage)
        back = stage.back(charge, 100)
        stage.fault(Operation.REFUND, Fault.LOSE_ANSWER)
        assert isinstance(await stage.channel.refund(back), Unknown)
        clock.advance(25 * 3600)

        assert isinstance(await stage.channel.refund(back), RefundDone)
        assert stage.books(charge) == (1177, 100)


async def test_in_certificate_mode_alipay_takes_no_call_that_names_other_certificates() -> None:
    async with AlipayCertificateStage().running() as stage:
        assert isinstance(stage, AlipayCertificateStage)
        assert isinstance(await stage.channel.query(stage.charge()), NotFound)

        stage.roots = key_pair(STRANGERS_KEY).certificate("Other roots", CLOCK.now())
        said = await stage.make_channel(stage.url, OUR_KEY).query(stage.charge())

    assert said == Unknown("isv.invalid-signature")
