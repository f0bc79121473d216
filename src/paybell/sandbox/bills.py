"""The bills of simulated channels, written as the real ones write theirs."""

import io
import zipfile
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

from paybell.sandbox.books import BackMoney, Books, RefundState, Trade, TradeState

_BEIJING = timezone(timedelta(hours=8))
_ALIPAY = (
    "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）,"
    "商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称,商家红包消费金额（元）,"
    "卡消费金额（元）,退款批次号/请求号,服务费（元）,分润（元）,备注"
)
_WECHAT = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,应结订单金额,"
    "代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,"
    "申请退款金额,费率备注"
)
_WECHAT_TOTALS = (
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
)


def alipay_bill(books: Books, day: date | None) -> bytes:
    """Return what moved on a day of Beijing's (None: ever) as a ZIP of a table in GBK; empty: nothing did."""
    rows = list[str]()
    paid, back = list[int](), list[int]()
    for trade, at, refund in _moved(books, day):
        if refund is None:
            paid.append(trade.amount)
            rows.append(_alipay_row(trade, "交易", at, trade.amount))
        elif refund.state is RefundState.DONE:
            back.append(refund.amount)
            rows.append(_alipay_row(trade, "退款", at, -refund.amount, refund.number))
    if day and not rows:
        return b""
    lines = [
        "#支付宝业务明细查询",
        _ALIPAY,
        *rows,
        "#-----------------------------------------业务明细列表结束------------------------------------",
        f"#交易合计：{len(paid)}笔，商家实收共{_yuan(sum(paid))}元，商家优惠共0.00元",
        f"#退款合计：{len(back)}笔，商家实收退款共{_yuan(-sum(back))}元，商家优惠退款共0.00元",
    ]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("details.csv", "\r\n".join(lines).encode("gbk", "replace"))
    return file.getvalue()


def _moved(books: Books, day: date | None) -> Iterator[tuple[Trade, datetime, BackMoney | None]]:
    """Yield payments, and refunds with what they are of, each with its time."""
    for trade in books:
        if trade.state is not TradeState.PAID or trade.paid_at is None:
            continue
        if day is None or trade.paid_at.astimezone(_BEIJING).date() == day:
            yield trade, trade.paid_at, None
        for one in trade.refunds.values():
            if day is None or one.made_at.astimezone(_BEIJING).date() == day:
                yield trade, one.made_at, one


def _alipay_row(trade: Trade, kind: str, at: datetime, amount: int, refund: str = "") -> str:
    time, yuan = _beijing(at), _yuan(amount)
    start, subject = f"{trade.transaction_id}\t,{trade.number}\t", trade.subject.replace("\n", " ")
    none = ",0.00" * 5
    return (
        f"{start},{kind}\t,{subject},{time},{time},,,,,*,{yuan},{yuan}{none},,0.00,0.00,{refund}\t,0.00,0.00,"
    )


def wechat_bill(books: Books, day: date | None) -> bytes:
    """Return what moved on a day of Beijing's (None: ever) as fields with backticks; empty: nothing did."""
    rows = list[str]()
    paid = back = 0
    for trade, at, refund in _moved(books, day):
        if refund is None:
            paid += trade.amount
            rows.append(_wechat_row(trade, at, trade.amount))
        elif refund.state is not RefundState.FAILED:
            back += refund.amount
            rows.append(_wechat_row(trade, at, 0, refund.number, refund.amount))
    if day and not rows:
        return b""
    totals = [str(len(rows)), _yuan(paid), _yuan(back), "0.00", "0.00000", _yuan(paid), _yuan(back)]
    lines = [_WECHAT, *rows, _WECHAT_TOTALS, _ticked(totals)]
    return ("\ufeff" + "\r\n".join(lines) + "\r\n").encode()


def _wechat_row(trade: Trade, at: datetime, amount: int, refund: str = "", back: int = 0) -> str:
    about, subject = (trade.transaction_id, trade.number), trade.subject
    state = "REFUND" if refund else "SUCCESS"
    begin = [_beijing(at), "wx", "1", "0", "", *about, "o", "NATIVE", state, "OTHERS", "CNY", _yuan(amount)]
    ids = ["0.00", f"5030{refund}" if refund else "0", refund or "0", _yuan(back), "0.00", "", ""]
    return _ticked([*begin, *ids, subject, "", "0.00000", "0.60%", _yuan(amount), _yuan(back), ""])


def _ticked(fields: Iterable[str]) -> str:
    return ",".join(f"`{one}" for one in fields)


def _yuan(fen: int) -> str:
    return f"{Decimal(fen) / 100:.2f}"


def _beijing(moment: datetime) -> str:
    return moment.astimezone(_BEIJING).strftime("%Y-%m-%d %H:%M:%S")
