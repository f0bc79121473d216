"""A purchase log: CSV in UTF-8, one purchase a line, read without ever holding the file in memory."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from paybell.errors import InvalidAmount, InvalidRequest, UnknownCurrency
from paybell.ids import parse_id
from paybell.money import check_amount, check_currency
from paybell.verification.csv_lines import BadLine, cells, lines, opened
from paybell.web.texts import check_text, check_user_id

COLUMNS = ("biz_order_no", "user_id", "amount", "currency", "subject", "purchased_on")
SUBJECT_MAX = 256
_DIGITS = re.compile(r"[0-9]{1,16}", re.ASCII)


@dataclass(frozen=True, slots=True)
class PayableRow:
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


def read_purchases(path: Path) -> Iterator[PayableRow | RefusedRow]:
    """Read every row, good or bad; a bad one never hides the next. Blank lines are passed over.

    A row is one line: a quoted subject holds no line break, so that a stray quote spoils its own
    row only. The date of the purchase is not needed and not looked at.

    Raises:
        InvalidRequest: the file cannot be read, or its first line is not the header of `COLUMNS`.
    """
    seen: set[int] = set()
    with opened(path) as file:
        numbered = lines(file)
        _check_header(next(numbered, (1, b""))[1], path)
        for number, line in numbered:
            if not line.strip():
                continue
            try:
                purchase = _purchase(number, cells(line))
                if purchase.order_id in seen:
                    raise _Refused("duplicate_order", f"order {purchase.order_id} stands further up")
            except BadLine as error:
                yield RefusedRow(number, "malformed", str(error))
            except _Refused as refused:
                yield RefusedRow(number, refused.reason, refused.detail)
            else:
                seen.add(purchase.order_id)
                yield purchase


def _check_header(line: bytes, path: Path) -> None:
    try:
        right = tuple(cells(line)) == COLUMNS
    except BadLine:
        right = False
    if not right:
        raise InvalidRequest(f"{path} is not a purchase log: its first line must be {','.join(COLUMNS)}.")


def _purchase(line: int, row: list[str]) -> PayableRow:
    if len(row) != len(COLUMNS):
        raise BadLine(f"{len(row)} columns instead of {len(COLUMNS)}")
    number, user_id, amount, currency, subject, _ = row
    try:
        order_id = parse_id(number)
        check_user_id(user_id)
        check_text(subject)
    except InvalidRequest as error:
        raise BadLine(str(error)) from None
    if len(subject) > SUBJECT_MAX:
        raise BadLine(f"the subject is longer than {SUBJECT_MAX} characters")
    try:
        payable = check_amount(int(amount) if _DIGITS.fullmatch(amount) else None)
    except InvalidAmount:
        raise _Refused(InvalidAmount.code, f"amount {_shown(amount)}") from None
    try:
        check_currency(currency)
    except UnknownCurrency:
        raise _Refused(UnknownCurrency.code, f"currency {_shown(currency)}") from None
    return PayableRow(line, order_id, user_id, payable, currency, subject)


def _shown(text: str) -> str:
    return repr(text[:40])
