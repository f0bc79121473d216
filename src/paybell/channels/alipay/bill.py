"""Alipay's bill of a day: a ZIP with a table in GBK, its totals in the lines behind it."""

import io
import re
import zipfile
from collections.abc import Mapping, Sequence

from paybell.channels.alipay.messages import fen
from paybell.channels.bills import BadBill, Entry, Key, collected
from paybell.channels.strict_json import Malformed

# A merchant's busiest day; whatever is longer is no bill, but made to fill our memory.
_FILES_MAX, _BYTES_MAX = 8, 256 * 1024 * 1024
_PAID, _REFUNDED = "交易", "退款"
_NUMBER, _REFUND_NUMBER = "商户订单号", "退款批次号/请求号"
_TRADE, _KIND, _AMOUNT, _RECEIVED = "支付宝交易号", "业务类型", "订单金额（元）", "商家实收（元）"
_COLUMNS = (_TRADE, _NUMBER, _KIND, _AMOUNT, _RECEIVED, _REFUND_NUMBER)
_TOTAL = re.compile(r"#+(交易|退款)合计：(\d{1,9})笔，商家实收(?:退款)?共(-?[\d.]{1,16})元")


def read_bill(content: bytes) -> Mapping[Key, Entry]:
    """Return what a day's bill says.

    Raises:
        BadBill: it is none, or its rows do not come to its totals.
    """
    try:
        return _rows(_details(content))
    except (zipfile.BadZipFile, UnicodeDecodeError, Malformed, ValueError, RuntimeError) as error:
        raise BadBill from error


def _details(content: bytes) -> Sequence[str]:
    """Return the lines of the file with the table; the other one only sums it up once more."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if len(members) > _FILES_MAX or sum(one.file_size for one in members) > _BYTES_MAX:
            raise BadBill
        for member in members:
            with archive.open(member) as file:
                lines = file.read(_BYTES_MAX).decode("gbk").replace("\r\n", "\n").split("\n")
            if any(line.startswith(_TRADE) for line in lines):
                return lines
    raise BadBill


def _rows(lines: Sequence[str]) -> Mapping[Key, Entry]:
    header, *rest = [line for line in lines if line and not line.startswith("#")]
    names = [name.strip() for name in header.split(",")]
    places = [names.index(name) for name in _COLUMNS]
    totals = {match[1]: (int(match[2]), _signed(match[3])) for line in lines if (match := _TOTAL.match(line))}
    summed = {_PAID: (0, 0), _REFUNDED: (0, 0)}
    rows = list[tuple[Key, Entry]]()
    for line in rest:
        fields = line.split(",")
        # A comma in a subject moves what follows it; the first and last columns say by how much.
        if len(fields) != len(names):
            fields = _rejoined(fields, len(names), names.index("商品名称"))
        trade, number, kind, amount, received, refund = (fields[place].strip() for place in places)
        count, total = summed[kind]
        summed[kind] = count + 1, total + _signed(received)
        key = Key("payment", number) if kind == _PAID else Key("refund", refund)
        rows.append((key, Entry(abs(_signed(amount)), "CNY", trade)))
    if any(summed[kind] != totals.get(kind, (0, 0)) for kind in summed):
        raise BadBill("The bill's rows do not come to its own totals; get it again.")
    return collected(rows)


def _rejoined(fields: Sequence[str], wanted: int, place: int) -> list[str]:
    more = len(fields) - wanted
    if more < 0:
        raise BadBill
    return [*fields[:place], ",".join(fields[place : place + more + 1]), *fields[place + more + 1 :]]


def _signed(text: str) -> int:
    return -fen(text[1:]) if text.startswith("-") else fen(text)
