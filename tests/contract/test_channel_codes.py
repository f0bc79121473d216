"""The channels' tables of errors: what each code means for money."""

from dataclasses import replace

import pytest
from stages import AlipayStage, Stage, StripeStage, WechatStage

from paybell.channels.answers import Closed, NotFound, Opened, Paid, RefundFailed, Refused, Unknown
from paybell.sandbox.faults import Fault, Operation

# What is said when this comes back for a window that is open (open, query, close) or paid (refund).
ALIPAY = {
    "20000": (Unknown, Unknown, Unknown, Unknown),
    "20001": (Refused, Unknown, Unknown, Unknown),
    "40002": (Refused, Unknown, Unknown, Unknown),
    "40006": (Refused, Unknown, Unknown, Unknown),
    "ACQ.SYSTEM_ERROR": (Unknown, Unknown, Unknown, Unknown),
    "ACQ.TRADE_NOT_EXIST": (Unknown, NotFound, NotFound, Unknown),
    "ACQ.TRADE_HAS_CLOSE": (Refused, Unknown, Unknown, Unknown),
    "ACQ.CONTEXT_INCONSISTENT": (Unknown, Unknown, Unknown, Unknown),
    "ACQ.TOTAL_FEE_EXCEED": (Refused, Unknown, Unknown, Unknown),
    "ACQ.SELLER_BALANCE_NOT_ENOUGH": (Unknown, Unknown, Unknown, Unknown),
    "ACQ.REASON_TRADE_REFUND_FEE_ERR": (Unknown, Unknown, Unknown, RefundFailed),
    "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL": (Unknown, Unknown, Unknown, RefundFailed),
    "ACQ.NOBODY_DOCUMENTS_THIS": (Unknown, Unknown, Unknown, Unknown),
}
WECHAT = {
    "202 USERPAYING": (Unknown, Unknown, Unknown, Unknown),
    "400 PARAM_ERROR": (Refused, Unknown, Unknown, RefundFailed),
    "400 ORDER_CLOSED": (Refused, Unknown, Closed, Unknown),
    "400 ORDERCLOSED": (Refused, Unknown, Closed, Unknown),
    "403 NO_AUTH": (Refused, Unknown, Unknown, Unknown),
    "403 RULE_LIMIT": (Refused, Unknown, Unknown, Unknown),
    "403 OUT_TRADE_NO_USED": (Unknown, Unknown, Unknown, Unknown),
    "403 NOT_ENOUGH": (Unknown, Unknown, Unknown, Unknown),
    "404 ORDERNOTEXIST": (Unknown, NotFound, NotFound, Unknown),
    "404 ORDER_NOT_EXIST": (Unknown, NotFound, NotFound, Unknown),
    "429 FREQUENCY_LIMITED": (Unknown, Unknown, Unknown, Unknown),
    "500 SYSTEM_ERROR": (Unknown, Unknown, Unknown, Unknown),
    "503 SERVICE_UNAVAILABLE": (Unknown, Unknown, Unknown, Unknown),
    "403 NOBODY_DOCUMENTS_THIS": (Unknown, Unknown, Unknown, Unknown),
}
STRIPE = {
    "400 invalid_request_error": (Refused, Unknown, Unknown, Unknown),
    "400 invalid_request_error charge_already_refunded": (Refused, Unknown, Unknown, RefundFailed),
    "400 idempotency_error": (Unknown, Unknown, Unknown, Unknown),
    "401 invalid_request_error": (Unknown, Unknown, Unknown, Unknown),
    "402 card_error card_declined": (Unknown, Unknown, Unknown, Unknown),
    "404 invalid_request_error resource_missing": (Refused, Unknown, Unknown, Unknown),
    "409 idempotency_error idempotency_key_in_use": (Unknown, Unknown, Unknown, Unknown),
    "429 invalid_request_error rate_limit": (Unknown, Unknown, Unknown, Unknown),
    "500 api_error": (Unknown, Unknown, Unknown, Unknown),
}
# After several of these in a row the channel is left alone for a while, and is not offered. Others are about
# one attempt or refund: an empty account, say, keeps nobody from paying.
AWAY = {
    *("20000", "ACQ.SYSTEM_ERROR"),
    *("429 FREQUENCY_LIMITED", "500 SYSTEM_ERROR", "503 SERVICE_UNAVAILABLE"),
    *("401 invalid_request_error", "429 invalid_request_error rate_limit", "500 api_error"),
}


@pytest.mark.parametrize(
    ("kind", "table"), [(AlipayStage, ALIPAY), (WechatStage, WECHAT), (StripeStage, STRIPE)]
)
async def test_each_code_means_what_the_channel_documents(
    kind: type[Stage], table: dict[str, tuple[type, ...]]
) -> None:
    said, away = {}, set[str]()
    async with kind().running() as stage:
        for code in table:
            window, fresh = stage.charge(), stage.charge()
            opened = await stage.channel.open(window)
            assert isinstance(opened, Opened)
            stage.scan(window)
            window = replace(window, reference=opened.reference)
            answers = list[object]()
            for operation, call, charge in (
                (Operation.OPEN, stage.channel.open, fresh),
                (Operation.QUERY, stage.channel.query, window),
                (Operation.CLOSE, stage.channel.close, window),
            ):
                stage.fault(operation, Fault.CODE, code=code)
                answers.append(await call(charge))
            if stage.trade(window).state.value == "OPEN":
                stage.pay(window)
            back = stage.back(window, 1)
            stage.fault(Operation.REFUND, Fault.CODE, code=code)
            answers.append(await stage.channel.refund(back))
            said[code] = tuple(map(type, answers))
            if any(isinstance(one, Unknown) and not one.answered for one in answers):
                away.add(code)

    assert said == table
    assert away == AWAY & table.keys()


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (AlipayStage, "ACQ.TRADE_HAS_SUCCESS"),
        (WechatStage, "400 ORDERPAID"),
        (WechatStage, "400 ORDER_PAID"),
        (WechatStage, "400 INVALID_REQUEST"),
    ],
)
async def test_paid_already_is_asked_after(kind: type[Stage], code: str) -> None:
    async with kind().running() as stage:
        charge = stage.charge()
        await stage.channel.open(charge)
        stage.pay(charge)
        for operation, call in ((Operation.OPEN, stage.channel.open), (Operation.CLOSE, stage.channel.close)):
            stage.fault(operation, Fault.CODE, code=code)
            assert isinstance(await call(charge), Paid)


async def test_a_first_order_that_wechat_refuses_is_refused() -> None:
    """INVALID_REQUEST is said of a number that was used, too: only one it does not know was refused."""
    async with WechatStage().running() as stage:
        stage.fault(Operation.OPEN, Fault.CODE, code="400 INVALID_REQUEST")
        assert await stage.channel.open(stage.charge()) == Refused("INVALID_REQUEST", "INVALID_REQUEST")
