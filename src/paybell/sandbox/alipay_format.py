"""How Alipay's gateway writes: its answers, amounts and times, and the form of a notice."""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from paybell.sandbox.books import BackMoney, Trade, TradeState
from paybell.sandbox.faults import Fault

BEIJING = timezone(timedelta(hours=8))
_TIME = "%Y-%m-%d %H:%M:%S"
_STATUS = {
    TradeState.OPEN: "WAIT_BUYER_PAY",
    TradeState.PAID: "TRADE_SUCCESS",
    TradeState.CLOSED: "TRADE_CLOSED",
}


@dataclass(frozen=True, slots=True)
class CertificateNames:
    """The SN of the application's certificate, of the roots and of Alipay's own; all empty in key mode."""

    app: str = ""
    root: str = ""
    own: str = ""

    def are_in(self, fields: Mapping[str, str]) -> bool:
        """Say whether a call names the first two as it has to."""
        return (fields.get("app_cert_sn", ""), fields.get("alipay_root_cert_sn", "")) == (self.app, self.root)


def accepted(**fields: str) -> dict[str, str]:
    """Return what is said of a call that succeeded."""
    return {"code": "10000", "msg": "Success", **fields}


def failed(sub_code: str, **fields: str) -> dict[str, str]:
    """Return what is said of a call that failed in the business."""
    return {"code": "40004", "msg": "Business Failed", "sub_code": sub_code, "sub_msg": sub_code, **fields}


def invalid(sub_code: str) -> dict[str, str]:
    """Return what is said of a call that was not taken."""
    return {"code": "40002", "msg": "Invalid Arguments", "sub_code": sub_code, "sub_msg": sub_code}


def yuan(amount: int) -> str:
    """Write an amount (in fen) as Alipay does."""
    return f"{Decimal(amount) / 100:.2f}"


def beijing(moment: datetime) -> str:
    """Write a time as Alipay does."""
    return moment.astimezone(BEIJING).strftime(_TIME)


def fen(text: str) -> int:
    """Read an amount, as fen."""
    return int(Decimal(text) * 100)


def read_time(text: str) -> datetime:
    """Read a time.

    Raises:
        ValueError: it is none.
    """
    return datetime.strptime(text, _TIME).replace(tzinfo=BEIJING)


def covered(fields: Mapping[str, str], left_out: str) -> str:
    """Return what a signature over fields covers: all that have a value but one, in order."""
    return "&".join(f"{name}={fields[name]}" for name in sorted(fields) if name != left_out and fields[name])


def signed_answer(body: bytes, sign: Callable[[bytes], str] | None, certificate: str) -> bytes:
    """Write a JSON list of name and object as PHP does, with escaped slashes, and sign exactly that object.

    None does not sign it. The certificate's name, if there is one, stands outside of what is signed.
    """
    name, said = json.loads(body)
    text = json.dumps(said, ensure_ascii=False, separators=(",", ":")).replace("/", "\\/")
    signature = "" if sign is None else f',"sign":"{sign(text.encode())}"'
    named = f',"alipay_cert_sn":"{certificate}"' if certificate else ""
    return f'{{"{name}":{text}{named}{signature}}}'.encode()


def read_trade(content: Mapping[str, str], fields: Mapping[str, str], now: datetime) -> Trade:
    """Read what is to be paid; nobody has scanned or seen it yet."""
    return Trade(
        number=content["out_trade_no"],
        token=secrets.token_hex(12),
        transaction_id=f"2026{secrets.randbelow(10**24):024d}",
        amount=fen(content["total_amount"]),
        currency="CNY",
        subject=content["subject"],
        expires_at=read_time(content["time_expire"]),
        notify_url=fields.get("notify_url", ""),
        parameters=json.dumps(content, sort_keys=True).encode(),
        made_at=now,
        known=False,
        return_url=fields.get("return_url", ""),
    )


def state_of(trade: Trade, fault: Fault | None) -> dict[str, str]:
    """Return a trade as it stands; a fault makes some of it wrong."""
    said = accepted(
        out_trade_no=trade.number,
        trade_no=trade.transaction_id,
        trade_status=_STATUS[trade.state],
        total_amount=yuan(trade.amount + (fault is Fault.WRONG_AMOUNT)),
        buyer_logon_id="buyer{}@example.com",
    )
    if trade.paid_at is not None:
        said["send_pay_date"] = beijing(trade.paid_at)
        if trade.given_back == trade.amount:
            said["trade_status"] = "TRADE_CLOSED"
    return said


def refund_of(trade: Trade, back: BackMoney) -> dict[str, str]:
    """Return a refund that is done."""
    return accepted(
        out_trade_no=trade.number,
        trade_no=trade.transaction_id,
        out_request_no=back.number,
        refund_amount=yuan(back.amount),
        refund_status="REFUND_SUCCESS",
    )


def refund_fields(trade: Trade, back: BackMoney) -> dict[str, str]:
    """Return what a notice says of a refund; after the last one the trade is closed."""
    whole = trade.given_back == trade.amount
    return {
        "trade_status": "TRADE_CLOSED" if whole else "TRADE_SUCCESS",
        "out_biz_no": back.number,
        "refund_fee": yuan(trade.given_back),
        "gmt_refund": beijing(back.made_at),
    }


def notice_fields(
    trade: Trade, app_id: str, seller_id: str, more: Mapping[str, str], fault: Fault | None
) -> dict[str, str]:
    """Return the form of a notice of a trade that was paid, with neither time nor signature.

    A fault makes some of it wrong.
    """
    assert trade.paid_at is not None
    about = more.get("out_biz_no", "paid")
    return {
        "notify_type": "trade_status_sync",
        "notify_id": f"{trade.token}{about}",
        "app_id": app_id,
        "auth_app_id": app_id,
        "charset": "utf-8",
        "version": "1.0",
        "sign_type": "RSA2",
        "trade_no": trade.transaction_id,
        "out_trade_no": trade.number,
        "buyer_id": "2088102100000000",
        "seller_id": "2088999999999999" if fault is Fault.WRONG_SELLER else seller_id,
        "total_amount": yuan(trade.amount + (fault is Fault.WRONG_AMOUNT)),
        "receipt_amount": yuan(trade.amount),
        "buyer_pay_amount": yuan(trade.amount),
        "gmt_create": beijing(trade.made_at),
        "gmt_payment": beijing(trade.paid_at),
        "fund_bill_list": json.dumps([{"amount": yuan(trade.amount), "fundChannel": "ALIPAYACCOUNT"}]),
        "subject": trade.subject,
        **more,
    }
