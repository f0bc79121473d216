"""What WeChat Pay signs: requests in Authorization, answers and notices in headers of their own."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from paybell.channels.crypto import PrivateKey, PublicKey

SKEW_SECONDS_MAX = 300
SCHEME = "WECHATPAY2-SHA256-RSA2048"
# WeChat sends notices that are signed wrongly on purpose, and wants them refused.
_PROBE = "WECHATPAY/SIGNTEST/"
_DIGITS = re.compile(r"[0-9]{1,12}", re.ASCII)


def request_text(method: str, target: str, timestamp: int, nonce: str, body: bytes) -> bytes:
    """Return what a request's signature covers; an empty body leaves its line empty."""
    return f"{method}\n{target}\n{timestamp}\n{nonce}\n".encode() + body + b"\n"


def answer_text(timestamp: str, nonce: str, body: bytes) -> bytes:
    """Return what the signature of an answer or notice covers."""
    return f"{timestamp}\n{nonce}\n".encode() + body + b"\n"


def authorization(
    method: str,
    target: str,
    body: bytes,
    *,
    mchid: str,
    serial: str,
    key: PrivateKey,
    now: datetime,
    nonce: str,
) -> str:
    """Return the header of a request.

    Args:
        method: of HTTP.
        target: path and query as they go over the wire.
        body: exactly as it is sent.
        mchid: the merchant's number.
        serial: of the certificate that belongs to the key.
        key: the merchant's.
        now: more than five minutes off the channel's clock it is refused.
        nonce: of 32 letters or digits, fresh.
    """
    timestamp = int(now.timestamp())
    signature = key.sign(request_text(method, target, timestamp, nonce, body))
    return (
        f'{SCHEME} mchid="{mchid}",nonce_str="{nonce}",timestamp="{timestamp}",'
        f'serial_no="{serial}",signature="{signature}"'
    )


def fault_of(
    headers: Mapping[str, str], body: bytes, keys: Sequence[tuple[str, PublicKey]], now: datetime
) -> str:
    """Return why an answer or notice is not to be believed; empty if it is.

    Args:
        headers: names in small letters.
        body: as it came.
        keys: with their ids (``PUB_KEY_ID_…``); a certificate goes by its serial. No other is looked for.
        now: at most five minutes off.
    """
    signature = headers.get("wechatpay-signature", "")
    serial = headers.get("wechatpay-serial", "")
    timestamp, nonce = headers.get("wechatpay-timestamp", ""), headers.get("wechatpay-nonce", "")
    if not (signature and serial and timestamp and nonce):
        return "not_signed"
    if signature.startswith(_PROBE):
        return "probe"
    if not _DIGITS.fullmatch(timestamp) or abs(int(timestamp) - now.timestamp()) > SKEW_SECONDS_MAX:
        return "wrong_time"
    matching = [key for name, key in keys if serial in (name, key.serial)]
    if not matching:
        return "unknown_key"
    text = answer_text(timestamp, nonce, body)
    return "" if any(key.verifies(signature, text) for key in matching) else "bad_signature"
