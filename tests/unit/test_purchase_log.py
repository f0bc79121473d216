"""A purchase log is read row by row; a bad row is refused alone."""

from pathlib import Path

import pytest

from paybell.cli.purchase_log import PayableRow, RefusedRow, read_purchases
from paybell.errors import InvalidRequest
from paybell.verification.csv_lines import LINE_MAX_BYTES

HEADER = b"biz_order_no,user_id,amount,currency,subject,purchased_on\n"
GOOD = b"199701010000001,1,1177,USD,1 CD,1997-01-01\n"


def read(path: Path, content: bytes) -> list[PayableRow | RefusedRow]:
    """Read a file of this content."""
    path.write_bytes(content)
    return list(read_purchases(path))


@pytest.mark.parametrize(
    "row",
    [
        GOOD,
        GOOD.rstrip(b"\n"),
        GOOD.replace(b"\n", b"\r\n"),
        b"\n" + GOOD + b"\n\n",
        b'199701010000001,1,1177,USD,"1 CD",\n',
        b"0199701010000001,1,01177,USD,1 CD,not a date\n",
    ],
)
def test_a_good_row_is_read(tmp_path: Path, row: bytes) -> None:
    (purchase,) = read(tmp_path / "log.csv", HEADER + row)

    assert isinstance(purchase, PayableRow)
    assert (purchase.order_id, purchase.user_id, purchase.amount) == (199701010000001, "1", 1177)
    assert (purchase.currency, purchase.subject) == ("USD", "1 CD")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"2,1,0,USD,s,d", "invalid_amount"),
        (b"2,1,-5,USD,s,d", "invalid_amount"),
        (b"2,1,1.0,USD,s,d", "invalid_amount"),
        (b"2,1,,USD,s,d", "invalid_amount"),
        (b"2,1,1e3,USD,s,d", "invalid_amount"),
        ("2,1,\N{ARABIC-INDIC DIGIT FIVE},USD,s,d".encode(), "invalid_amount"),
        (b"2,1,1000000000000001,USD,s,d", "invalid_amount"),
        (b"2,1," + b"9" * 5000 + b",USD,s,d", "invalid_amount"),
        (b"2,1,5,usd,s,d", "unknown_currency"),
        (b"2,1,5,XXX,s,d", "unknown_currency"),
        (b"2,1,5,,s,d", "unknown_currency"),
        (b"0,1,5,USD,s,d", "malformed"),
        (b"9223372036854775808,1,5,USD,s,d", "malformed"),
        (b"x,1,5,USD,s,d", "malformed"),
        (b"2,,5,USD,s,d", "malformed"),
        (b"2,' OR 1=1,5,USD,s,d", "malformed"),
        (b"2,1,5,USD,bell \a,d", "malformed"),
        (b"2,1,5,USD," + b"s" * 257 + b",d", "malformed"),
        (b"2,1,5,USD,\xff\xfe,d", "malformed"),
        (b"2,1,5,USD,s", "malformed"),
        (b"2,1,5,USD,s,d,more", "malformed"),
        (b'2,1,5,USD,"open,d', "malformed"),
        (b"2,1,5,USD," + b"s" * 3 * LINE_MAX_BYTES + b",d", "malformed"),
        (b"199701010000001,9,5,USD,s,d", "duplicate_order"),
    ],
)
def test_a_bad_row_is_refused_alone(tmp_path: Path, row: bytes, reason: str) -> None:
    """Whatever stands on a line, the rows before and after it are read, and lines are counted right."""
    later = GOOD.replace(b"001,", b"003,", 1)

    first, bad, last = read(tmp_path / "log.csv", HEADER + GOOD + row + b"\n" + later)

    assert isinstance(first, PayableRow)
    assert isinstance(bad, RefusedRow)
    assert (bad.line, bad.reason) == (3, reason)
    assert isinstance(last, PayableRow)
    assert (last.line, last.order_id) == (4, 199701010000003)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    assert len(read(tmp_path / "log.csv", b"\xef\xbb\xbf" + HEADER + GOOD)) == 1


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n\0\0", GOOD, HEADER.replace(b"user_id", b"user")]
)
def test_a_file_without_the_header_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InvalidRequest, match="is not a purchase log"):
        read(tmp_path / "log.csv", content)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read"):
        list(read_purchases(tmp_path))
