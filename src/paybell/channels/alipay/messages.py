"""What is said to Alipay's gateway, and what its answers mean."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import msgspec

from paybell.channels.alipay.signing import signed, verified_member
from paybell.channels.crypto import PrivateKey, PublicKey
from paybell.channels.strict_json import Malformed, convert

# Wall time in Beijing, whatever zone the host is in.
BEIJING = timezone(timedelta(hours=8))
_YUAN = re.compile(r"[0-9]{1,12}(\.[0-9]{1,2})?", re.ASCII)
_TIME = "%Y-%m-%d %H:%M:%S"
# 0.01 to 100,000,000 yuan.
FEN_MAX = 10_000_000_000
_SUBJECT_MAX = 256
# Signs that Alipay refuses in a subject.
_UNWANTED = str.maketrans(dict.fromkeys("/=&", " "))


class Merchant(msgspec.Struct, frozen=True):
    """Who we are at Alipay.

    Args:
        app_id: of the application whose key signs.
        seller_id: the merchant's account (2088…); empty: that of the application, and it is not compared.
        gateway: URL of the gateway.
        notify_url: where Alipay posts notices to.
        return_url: where the browser comes back to after a page payment; empty: nowhere.
    """

    app_id: str
    seller_id: str
    gateway: str
    notify_url: str = ""
    return_url: str = ""


class Caller(msgspec.Struct, frozen=True):
    """Who calls, the application's key, and what a request says of certificates."""

    merchant: Merchant
    key: PrivateKey
    certificates: Mapping[str, str] = {}


class Reply(msgspec.Struct, frozen=True):
    """An answer of the gateway; ``signed`` says whether one of Alipay's keys vouches for it."""

    signed: bool
    code: str = ""
    msg: str = ""
    sub_code: str = ""
    sub_msg: str = ""
    trade_no: str = ""
    out_trade_no: str = ""
    trade_status: str = ""
    total_amount: str = ""
    qr_code: str = ""
    fund_change: str = ""
    refund_fee: str = ""
    refund_amount: str = ""
    refund_status: str = ""
    out_request_no: str = ""
    send_pay_date: str = ""
    bill_download_url: str = ""

    @property
    def why(self) -> str:
        """The code that says most, for people and for the row of the attempt."""
        return self.sub_code or self.code


def returning(merchant: Merchant, notify_url: str, return_url: str) -> Merchant:
    """Return the merchant with the addresses of one attempt."""
    return msgspec.structs.replace(merchant, notify_url=notify_url, return_url=return_url)


def yuan(fen: int) -> str:
    """Write fen as Alipay wants amounts: ``yuan(1177)`` is ``"11.77"``."""
    return f"{fen // 100}.{fen % 100:02d}"


def fen(text: str) -> int:
    """Read an amount in yuan.

    Raises:
        Malformed: no number, or a part of a fen.
    """
    if not _YUAN.fullmatch(text):
        raise Malformed(f"{text[:20]!r} is no amount in yuan")
    return int(Decimal(text) * 100)


def beijing(moment: datetime) -> str:
    """Write a time as Alipay does."""
    return moment.astimezone(BEIJING).strftime(_TIME)


def from_beijing(text: str) -> datetime:
    """Read a time of Alipay's.

    Raises:
        Malformed: of another form.
    """
    try:
        return datetime.strptime(text, _TIME).replace(tzinfo=BEIJING).astimezone(UTC)
    except ValueError as error:
        raise Malformed(f"{text[:20]!r} is no time") from error


def request_body(method: str, content: Mapping[str, str], caller: Caller, now: datetime) -> bytes:
    """Return the form of a call.

    Args:
        method: such as ``alipay.trade.query``.
        content: what it is about (``biz_content``); empty values are left out.
        caller: who calls.
        now: goes along as the timestamp.
    """
    return urlencode(_signed_fields(method, content, caller, now)).encode()


def page_link(content: Mapping[str, str], caller: Caller, now: datetime) -> str:
    """Return the link that opens Alipay's page; nothing is called, the buyer's browser makes the trade."""
    content = {**content, "product_code": "FAST_INSTANT_TRADE_PAY"}
    fields = _signed_fields("alipay.trade.page.pay", content, caller, now)
    return f"{caller.merchant.gateway}?{urlencode(fields)}"


def _signed_fields(
    method: str, content: Mapping[str, str], caller: Caller, now: datetime
) -> Mapping[str, str]:
    merchant = caller.merchant
    fields = {
        "app_id": merchant.app_id,
        "method": method,
        "format": "JSON",
        "charset": "utf-8",
        "sign_type": "RSA2",
        "timestamp": beijing(now),
        "version": "1.0",
        "biz_content": msgspec.json.encode({name: one for name, one in content.items() if one}).decode(),
    }
    if method in {"alipay.trade.precreate", "alipay.trade.page.pay"}:
        fields["notify_url"] = merchant.notify_url
    if method == "alipay.trade.page.pay":
        fields["return_url"] = merchant.return_url
    fields.update(caller.certificates)
    return signed({name: one for name, one in fields.items() if one}, caller.key)


def opening(
    number: str, amount: int, subject: str, expires_at: datetime, seller_id: str
) -> Mapping[str, str]:
    """Return the content of a trade to be opened; the absolute deadline wins over all relative ones."""
    return {
        "out_trade_no": number,
        "total_amount": yuan(amount),
        "subject": (subject.translate(_UNWANTED).strip() or number)[:_SUBJECT_MAX],
        "seller_id": seller_id,
        "time_expire": beijing(expires_at),
    }


def read_reply(method: str, body: bytes, keys: Sequence[PublicKey]) -> Reply:
    """Read an answer to a call of this method.

    Raises:
        Malformed: it is none of the gateway's; nothing is known then.
    """
    member, is_signed = verified_member(body, method.replace(".", "_") + "_response", keys)
    known = set(Reply.__struct_fields__) - {"signed"}
    texts: dict[str, Any] = {name: one for name, one in member.items() if name in known}
    return convert({**texts, "signed": is_signed}, Reply)
