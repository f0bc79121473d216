"""Bills of channels: read whole or not at all, and compared with what we entered."""

import gzip
import hashlib
import io
import zipfile

import pytest

from paybell.channels.alipay import bill as alipay
from paybell.channels.bills import BadBill, Differs, Entry, Key, differences
from paybell.channels.wechat import bill as wechat

ALIPAY_HEADER = (
    "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）,"
    "商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称,商家红包消费金额（元）,"
    "卡消费金额（元）,退款批次号/请求号,服务费（元）,分润（元）,备注"
)


def alipay_row(number: str, kind: str, amount: str, refund: str = "", subject: str = "茶") -> str:
    times = "2026-11-26 10:00:00,2026-11-26 10:00:05"
    return (
        f"2026112622001{number}\t,{number}\t,{kind}\t,{subject},{times},\t,\t,\t,\t,*客(139****00)\t,{amount},{amount},"
        f"0.00,0.00,0.00,0.00,0.00,,0.00\t,0.00,{refund}\t,-0.07,0.00,"
    )


def alipay_bill(
    *rows: str, paid: str = "2笔，商家实收共12.77元", back: str = "1笔，商家实收退款共-1.00元"
) -> bytes:
    lines = [
        "#支付宝业务明细查询",
        "#-----------------------------------------业务明细列表----------------------------------------",
        ALIPAY_HEADER,
        *rows,
        "#-----------------------------------------业务明细列表结束------------------------------------",
        f"#交易合计：{paid}，商家优惠共0.00元",
        f"#退款合计：{back}，商家优惠退款共0.00元",
        "#导出时间：[2026年11月27日 06:27:10]",
    ]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("summary.csv", "#支付宝业务汇总查询\r\n门店编号,交易订单总笔数\r\n".encode("gbk"))
        archive.writestr("details.csv", "\r\n".join(lines).encode("gbk"))
    return file.getvalue()


ALIPAY_ROWS = (
    alipay_row("7001", "交易", "11.77"),
    alipay_row("7002", "交易", "1.00", subject="tea, green"),
    alipay_row("7001", "退款", "-1.00", "9001"),
)


def test_alipays_bill_says_what_was_paid_and_what_went_back() -> None:
    assert alipay.read_bill(alipay_bill(*ALIPAY_ROWS)) == {
        Key("payment", "7001"): Entry(1177, "CNY", "20261126220017001"),
        Key("payment", "7002"): Entry(100, "CNY", "20261126220017002"),
        Key("refund", "9001"): Entry(100, "CNY", "20261126220017001"),
    }
    assert alipay.read_bill(alipay_bill(paid="0笔，商家实收共0.00元", back="0笔，商家实收退款共0.00元")) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        alipay_bill(*ALIPAY_ROWS[:2]),
        alipay_bill(*ALIPAY_ROWS, paid="2笔，商家实收共12.76元"),
        alipay_bill(*ALIPAY_ROWS, paid="3笔，商家实收共12.77元"),
        alipay_bill(
            ALIPAY_ROWS[0], ALIPAY_ROWS[0], paid="2笔，商家实收共23.54元", back="0笔，商家实收退款共0.00元"
        ),
        alipay_bill("a,b", paid="0笔，商家实收共0.00元", back="0笔，商家实收退款共0.00元"),
        alipay_bill(*ALIPAY_ROWS)[:-30],
    ],
)
def test_half_of_alipays_bill_is_none(content: bytes) -> None:
    with pytest.raises(BadBill):
        alipay.read_bill(content)


WECHAT_HEADER = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,应结订单金额,"
    "代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,"
    "申请退款金额,费率备注"
)
WECHAT_SUMMARY = (
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
)


def wechat_row(number: str, amount: str, refund: str = "", back: str = "0.00", subject: str = "茶") -> str:
    state = "REFUND" if refund else "SUCCESS"
    fields = (
        f"2026-11-26 10:00:00 wx1 1900000001 0 - 4200{number} {number} o1 NATIVE {state} OTHERS CNY {amount} "
        f"0.00 {refund or 0} {refund or 0} {back} 0.00 - - S - 0.05940 0.60% {amount} {back} -"
    ).split(" ")
    fields = [f"{fields[0]} {fields[1]}", *fields[2:]]
    return ",".join("`" + {"-": "", "S": subject}.get(one, one) for one in fields)


def wechat_bill(*rows: str, summary: str = "`3,`12.77,`1.00,`0.00,`0.11880,`12.77,`1.00") -> bytes:
    return ("\ufeff" + "\r\n".join([WECHAT_HEADER, *rows, WECHAT_SUMMARY, summary]) + "\r\n").encode()


WECHAT_ROWS = (
    wechat_row("7001", "11.77"),
    wechat_row("7002", "1.00", subject="tea, green"),
    wechat_row("7001", "0.00", "9001", "1.00"),
)


def test_wechats_bill_says_what_was_paid_and_what_went_back() -> None:
    content = wechat_bill(*WECHAT_ROWS)
    said = {
        Key("payment", "7001"): Entry(1177, "CNY", "42007001"),
        Key("payment", "7002"): Entry(100, "CNY", "42007002"),
        Key("refund", "9001"): Entry(100, "CNY", "42007001"),
    }
    digest = hashlib.sha1(content, usedforsecurity=False).hexdigest()

    assert wechat.read_bill(content) == said
    # The hash is of the text, not of what was downloaded.
    assert wechat.read_bill(gzip.compress(content), digest) == said
    with pytest.raises(BadBill, match="hash"):
        wechat.read_bill(content, "0" * 40)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        wechat_bill(*WECHAT_ROWS[:2]),
        wechat_bill(*WECHAT_ROWS, summary="`3,`12.77,`1.00,`0.00,`0.11880,`12.78,`1.00"),
        wechat_bill(*WECHAT_ROWS, summary="`3"),
        wechat_bill("7001,11.77"),
        gzip.compress(wechat_bill(*WECHAT_ROWS))[:-9],
        b"\xff\xfe",
    ],
)
def test_half_of_wechats_bill_is_none(content: bytes) -> None:
    with pytest.raises(BadBill):
        wechat.read_bill(content)


def test_each_row_that_is_not_the_same_on_both_sides_is_named() -> None:
    one, other = Entry(100, "CNY", "t1"), Entry(101, "CNY", "t1")
    keys = [Key("payment", str(number)) for number in range(1, 5)]
    ours = {keys[0]: one, keys[1]: one, keys[2]: one}
    theirs = {keys[0]: one, keys[1]: other, keys[3]: one}

    assert [(found.key.number, found.how) for found in differences(ours, theirs)] == [
        ("2", Differs.AMOUNT),
        ("3", Differs.OURS_ONLY),
        ("4", Differs.THEIRS_ONLY),
    ]
