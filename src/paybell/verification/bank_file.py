"""Somebody else's statement, such as a bank's: a CSV file, read strictly to its last line."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Literal, get_args

from paybell.errors import InvalidAmount, InvalidRequest, UnknownCurrency
from paybell.money import check_amount, check_currency
from paybell.verification.csv_lines import BadLine, cells, lines

COLUMNS = ("reference", "amount", "currency")
# As long as the reference of a transfer may be.
REFERENCE_MAX = 400
Kind = Literal["payment", "refund", "refund_failed", "top_up"]
_AMOUNT = re.compile(r"(-?)([0-9]{1,16})", re.ASCII)


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One line of the file: which transfer it speaks of, and its amount in minor units."""

    line: int
    kind: Kind
    reference: str
    amount: int
    currency: str


class BankFile:
    """A CSV with the columns reference, amount (minor units), currency; others are ignored.

    ``has_kinds``: each line says in its column ``kind`` what it is, as in our own statements.
    """

    def __init__(self, file: BufferedIOBase, kind: Kind | None = None) -> None:
        """Read the first line of a file in UTF-8.

        Args:
            file: the bytes of it.
            kind: of all lines; None: what the column ``kind`` says where there is one, else payments.

        Raises:
            InvalidRequest: it does not name the columns.
        """
        self._numbered = lines(file)
        self._kind = kind
        try:
            self._header = _header(cells(next(self._numbered, (1, b""))[1]))
        except BadLine as error:
            raise InvalidRequest(f"Line 1: {error}.") from None
        self.has_kinds = kind is None and "kind" in self._header

    def read(self) -> Iterator[StatementLine]:
        """Read the other lines; blank ones are passed over. Refunds may be negative.

        Raises:
            InvalidRequest: which line cannot be read, and why; or that there is none.
        """
        empty = True
        for number, line in self._numbered:
            if not line.strip():
                continue
            try:
                yield _line(number, _row(self._header, cells(line)), self._kind)
            except BadLine as error:
                raise InvalidRequest(f"Line {number}: {error}.") from None
            empty = False
        if empty:
            raise InvalidRequest("Line 2: there is no line below the header, so nothing was compared.")


def _header(names: Sequence[str]) -> list[str]:
    header = [name.strip() for name in names]
    if missing := [name for name in COLUMNS if name not in header]:
        raise BadLine(f"the first line names the columns, and lacks {', '.join(missing)}")
    if twice := [name for name in (*COLUMNS, "kind") if header.count(name) > 1]:
        raise BadLine(f"the first line names {', '.join(twice)} twice")
    return header


def _row(header: Sequence[str], values: Sequence[str]) -> Mapping[str, str]:
    if len(values) != len(header):
        raise BadLine(f"{len(values)} columns instead of {len(header)}")
    return dict(zip(header, values, strict=True))


def _line(number: int, row: Mapping[str, str], kind: Kind | None) -> StatementLine:
    kind = kind or _kind(row.get("kind", "payment").strip())
    reference = row["reference"].strip()
    if not 0 < len(reference) <= REFERENCE_MAX or not reference.isprintable():
        raise BadLine(f"a reference of 1 to {REFERENCE_MAX} characters is needed")
    try:
        currency = check_currency(row["currency"].strip())
    except UnknownCurrency:
        raise BadLine(f"currency {_shown(row['currency'])} is no code of ISO 4217, such as CNY") from None
    return StatementLine(number, kind, reference, _amount(row["amount"].strip(), kind), currency)


def _kind(text: str) -> Kind:
    for kind in get_args(Kind):
        if text == kind:
            found: Kind = kind
            return found
    raise BadLine(
        f"kind {_shown(text)} is none of {', '.join(get_args(Kind))}; with --kind the column is ignored"
    )


def _amount(text: str, kind: Kind) -> int:
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise BadLine(f"amount {_shown(text)} is no whole number of minor units")
    if match[1] and kind != "refund":
        raise BadLine(f"amount {_shown(text)}: only a refund may be negative")
    try:
        return check_amount(int(match[2]))
    except InvalidAmount:
        raise BadLine(f"amount {_shown(text)} is not from 1 to 10^15") from None


def _shown(text: str) -> str:
    return repr(text[:40])
