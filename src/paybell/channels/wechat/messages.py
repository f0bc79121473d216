"""What is said to WeChat Pay, and what its answers and notices mean."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from urllib.parse import quote

import msgspec

from paybell.channels.crypto import AesKey
from paybell.channels.strict_json import Malformed, convert, read_object

_BEIJING = timezone(timedelta(hours=8))
_DESCRIPTION_MAX = 127


class Merchant(msgspec.Struct, frozen=True):
    """Who we are at WeChat Pay.

    Args:
        mchid: the merchant's number.
        appid: of the account that payments belong to.
        base_url: of the API, without a path.
    """

    mchid: str
    appid: str
    base_url: str


class Amount(msgspec.Struct, frozen=True):
    """Of a payment, in fen; ``total`` is what the order came to, whatever coupons paid of it."""

    total: int = -1
    currency: str = "CNY"


class Transaction(msgspec.Struct, frozen=True):
    """A payment as WeChat Pay knows it; in its answers and, decrypted, in its notices."""

    mchid: str
    out_trade_no: str
    trade_state: str
    appid: str = ""
    transaction_id: str = ""
    success_time: str = ""
    amount: Amount = Amount()


class RefundAmount(msgspec.Struct, frozen=True):
    """Of a refund, in fen."""

    refund: int = -1
    total: int = -1
    currency: str = "CNY"


class Refund(msgspec.Struct, frozen=True):
    """A refund; in answers it says ``status``, in notices ``refund_status``."""

    out_refund_no: str
    refund_id: str = ""
    out_trade_no: str = ""
    mchid: str = ""
    status: str = ""
    refund_status: str = ""
    amount: RefundAmount = RefundAmount()


class Fault(msgspec.Struct, frozen=True):
    """An error; codes without underscores, as old and new spellings differ by them only."""

    code: str = ""
    message: str = ""

    @property
    def name(self) -> str:
        """The code as it is compared."""
        return self.code.replace("_", "").upper()


class Resource(msgspec.Struct, frozen=True):
    """The encrypted part of a notice."""

    algorithm: str
    ciphertext: str
    nonce: str
    associated_data: str = ""
    original_type: str = ""


class Envelope(msgspec.Struct, frozen=True):
    """A notice before it is decrypted."""

    id: str
    event_type: str
    resource: Resource


def wechat_time(moment: datetime) -> str:
    """Write a time as WeChat does: ``2026-01-31T12:00:00+08:00``."""
    return moment.astimezone(_BEIJING).isoformat(timespec="seconds")


def trade_target(number: str, mchid: str = "", *, close: bool = False) -> str:
    """Return path and query of a payment; the number is escaped, so that it cannot lead elsewhere."""
    path = f"/v3/pay/transactions/out-trade-no/{quote(number, safe='')}"
    return f"{path}/close" if close else f"{path}?mchid={quote(mchid, safe='')}"


def refund_target(number: str = "") -> str:
    """Return the path of refunds, or of one."""
    path = "/v3/refund/domestic/refunds"
    return f"{path}/{quote(number, safe='')}" if number else path


def native_body(
    merchant: Merchant, number: str, amount: int, subject: str, *, expires_at: datetime, notify_url: str
) -> bytes:
    """Return the body that asks for a QR code; repeated with the same number it must be the same.

    Args:
        merchant: who asks.
        number: 6 to 32 letters or digits.
        amount: in fen.
        subject: what the buyer reads.
        expires_at: at least a minute ahead; the first order of a number fixes it.
        notify_url: https, without a query.
    """
    return msgspec.json.encode(
        {
            "appid": merchant.appid,
            "mchid": merchant.mchid,
            "description": _short(subject.strip() or number),
            "out_trade_no": number,
            "time_expire": wechat_time(expires_at),
            "notify_url": notify_url,
            "amount": {"total": amount, "currency": "CNY"},
        }
    )


def close_body(merchant: Merchant) -> bytes:
    """Return the body that closes a window."""
    return msgspec.json.encode({"mchid": merchant.mchid})


def refund_body(number: str, refund: str, amount: int, total: int, notify_url: str) -> bytes:
    """Return the body that gives back ``amount`` of a payment of ``total`` fen."""
    return msgspec.json.encode(
        {
            "out_trade_no": number,
            "out_refund_no": refund,
            **({"notify_url": notify_url} if notify_url else {}),
            "amount": {"refund": amount, "total": total, "currency": "CNY"},
        }
    )


def read_notice(body: bytes) -> Envelope:
    """Read a notice that was verified.

    Raises:
        Malformed: of another form.
    """
    return convert(read_object(body), Envelope)


def decrypted(resource: Resource, keys: Sequence[AesKey]) -> Mapping[str, object]:
    """Return what stands in a notice.

    Raises:
        Malformed: encrypted otherwise, with none of the keys, or it holds no object.
    """
    if resource.algorithm != "AEAD_AES_256_GCM":
        raise Malformed("encrypted in a way that is not known")
    for key in keys:
        plain = key.decrypted(resource.ciphertext, resource.nonce, resource.associated_data)
        if plain is not None:
            return read_object(plain)
    raise Malformed("none of the APIv3 keys decrypts it")


def _short(subject: str) -> str:
    """Cut at 127 bytes of UTF-8, and not within a character."""
    return subject.encode()[:_DESCRIPTION_MAX].decode("utf-8", "ignore")
