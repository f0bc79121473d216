"""WeChat Pay's bill of a day: fields that begin with a backtick, amounts in yuan, totals at the end."""

import hashlib
import re
import zlib
from collections.abc import Mapping, Sequence
from decimal import Decimal

from paybell.channels.bills import BadBill, Entry, Key, collected

_BYTES_MAX = 256 * 1024 * 1024
_GZIP = b"\x1f\x8b"
_NUMBER, _REFUND_NUMBER, _TRANSACTION = "商户订单号", "商户退款单号", "微信订单号"
_STATE, _CURRENCY, _AMOUNT, _ASKED_BACK = "交易状态", "货币种类", "订单金额", "申请退款金额"
_COLUMNS = (_TRANSACTION, _NUMBER, _STATE, _CURRENCY, _REFUND_NUMBER, _AMOUNT, _ASKED_BACK)
_SUMMARY = ("总交易单数", "订单总金额", "申请退款总金额")
_REFUNDED = {"REFUND", "REVOKED"}
_YUAN = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,2})?0*", re.ASCII)


def read_bill(content: bytes, sha1: str = "") -> Mapping[Key, Entry]:
    """Return what a day's bill says.

    Args:
        content: as downloaded, packed or not.
        sha1: what the API said the unpacked text comes to; empty: the bill is a file of somebody's.

    Raises:
        BadBill: it is none, its rows do not come to its totals, or its text to the hash.
    """
    try:
        text = _unpacked(content)
        if sha1 and hashlib.sha1(text, usedforsecurity=False).hexdigest() != sha1.lower():
            raise BadBill("The bill's text does not come to the hash that WeChat Pay gave; get it again.")
        return _rows(text.decode("utf-8-sig").replace("\r\n", "\n").split("\n"))
    except (UnicodeDecodeError, ValueError, zlib.error, OSError, EOFError) as error:
        raise BadBill from error


def _unpacked(content: bytes) -> bytes:
    if not content.startswith(_GZIP):
        return content
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    text = unpacking.decompress(content, _BYTES_MAX)
    if not unpacking.eof:
        raise BadBill
    return text


def _rows(lines: Sequence[str]) -> Mapping[Key, Entry]:
    header, *details, summary_header, summary = [line for line in lines if line]
    names, sums = header.split(","), summary_header.split(",")
    places = [names.index(name) for name in _COLUMNS]
    counted, paid, back = 0, 0, 0
    rows = list[tuple[Key, Entry]]()
    for line in details:
        fields = _fields(line)
        transaction, number, state, currency, refund, amount, asked_back = (fields[one] for one in places)
        counted, paid, back = counted + 1, paid + _fen(amount), back + _fen(asked_back)
        if state in _REFUNDED:
            rows.append((Key("refund", refund), Entry(_fen(asked_back), currency, transaction)))
        else:
            rows.append((Key("payment", number), Entry(_fen(amount), currency, transaction)))
    totals = dict(zip(sums, _fields(summary), strict=True))
    count, total, total_back = (totals[name] for name in _SUMMARY)
    if (int(count), _fen(total), _fen(total_back)) != (counted, paid, back):
        raise BadBill("The bill's rows do not come to its own totals; get it again.")
    return collected(rows)


def _fields(line: str) -> Sequence[str]:
    """Split at comma and backtick: a comma in a subject has no backtick behind it."""
    if not line.startswith("`"):
        raise BadBill
    return line[1:].split(",`")


def _fen(text: str) -> int:
    if not _YUAN.fullmatch(text):
        raise BadBill
    return int(Decimal(text) * 100)
