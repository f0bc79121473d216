"""A purchase log: CSV in UTF-8, one purchase a line, read without ever holding the file in memory."""

import csv
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from paybell.errors import InvalidAmount, InvalidRequest, UnknownCurrency
from paybell.ids import parse_id
from paybell.money import check_amount, check_currency
from paybell.web.fields import check_text, check_user_id

COLUMNS = ("biz_order_no", "user_id", "amount", "currency", "subject", "purchased_on")
# Six short columns need a few hundred bytes; a line beyond this is not one of a purchase log.
LINE_MAX_BYTES = 8192
SUBJECT_MAX = 256
_BOM = b"\xef\xbb\xbf"
_DIGITS = re.compile(r"[0-9]{1,16}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Purchase:
    """A row that can be paid; the amount in minor units."""

    line: int
    order_id: int
    user_id: str
    amount: int
    currency: str
    subject: str

    @property
    def wallet(self) -> tuple[str, str]:
        """The user and currency it is paid out of."""
        return self.user_id, self.currency


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that cannot be paid: its line (the header is 1), a stable reason, and what was wrong."""

    line: int
    reason: str
    detail: str


class _Refused(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of the file, in hex: the same file is the same work.

    Raises:
        InvalidRequest: it cannot be read.
    """
    with _opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_purchases(path: Path) -> Iterator[Purchase | RefusedRow]:
    """Read every row, good or bad; a bad one never hides the next. Blank lines are passed over.

    A row is one line: a quoted subject holds no line break, so that a stray quote spoils its own
    row only. The date of the purchase is not needed and not looked at.

    Raises:
        InvalidRequest: the file cannot be read, or its first line is not the header of `COLUMNS`.
    """
    seen: set[int] = set()
    with _opened(path) as file:
        _check_header(file, path)
        for number, line in enumerate(_lines(file), start=2):
            if not line.strip():
                continue
            try:
                purchase = _purchase(number, _cells(line))
                if purchase.order_id in seen:
                    raise _Refused("duplicate_order", f"order {purchase.order_id} stands further up")
            except _Refused as refused:
                yield RefusedRow(number, refused.reason, refused.detail)
            else:
                seen.add(purchase.order_id)
                yield purchase


def _opened(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}.") from error


def _check_header(file: BufferedReader, path: Path) -> None:
    header = file.readline(LINE_MAX_BYTES).removeprefix(_BOM)
    try:
        right = tuple(_cells(header)) == COLUMNS
    except _Refused:
        right = False
    if not right:
        raise InvalidRequest(f"{path} is not a purchase log: its first line must be {','.join(COLUMNS)}.")


def _lines(file: BufferedReader) -> Iterator[bytes]:
    """Yield lines; of one that is too long only so much that it shows."""
    while line := file.readline(LINE_MAX_BYTES + 1):
        rest = line
        while rest and len(rest) > LINE_MAX_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(LINE_MAX_BYTES + 1)
        yield line


def _cells(line: bytes) -> list[str]:
    if len(line) > LINE_MAX_BYTES:
        raise _Refused("malformed", f"the line is longer than {LINE_MAX_BYTES} bytes")
    try:
        return next(csv.reader([line.decode("utf-8").rstrip("\r\n")], strict=True), [])
    except UnicodeDecodeError:
        raise _Refused("malformed", "the line is not UTF-8") from None
    except csv.Error as error:
        raise _Refused("malformed", f"the line is not CSV: {error}") from None


def _purchase(line: int, cells: list[str]) -> Purchase:
    if len(cells) != len(COLUMNS):
        raise _Refused("malformed", f"{len(cells)} columns instead of {len(COLUMNS)}")
    number, user_id, amount, currency, subject, _ = cells
    try:
        order_id = parse_id(number)
        check_user_id(user_id)
        check_text(subject)
    except InvalidRequest as error:
        raise _Refused("malformed", str(error)) from None
    if len(subject) > SUBJECT_MAX:
        raise _Refused("malformed", f"the subject is longer than {SUBJECT_MAX} characters")
    try:
        payable = check_amount(int(amount) if _DIGITS.fullmatch(amount) else None)
    except InvalidAmount:
        raise _Refused(InvalidAmount.code, f"amount {_shown(amount)}") from None
    try:
        check_currency(currency)
    except UnknownCurrency:
        raise _Refused(UnknownCurrency.code, f"currency {_shown(currency)}") from None
    return Purchase(line, order_id, user_id, payable, currency, subject)


def _shown(text: str) -> str:
    return repr(text[:40])
