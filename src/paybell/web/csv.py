"""Tables as CSV (RFC 4180), safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Iterable

import msgspec

CSV = "text/csv"
# A spreadsheet would take text that begins so for a formula, also behind a blank of these.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_head(kind: type[msgspec.Struct]) -> bytes:
    """Return the line with the names of a view's members."""
    return _lines([list(kind.__struct_encode_fields__)])


def csv_rows(views: Iterable[msgspec.Struct]) -> bytes:
    """Return a line for each view; times as in JSON, what is missing is empty."""
    return _lines([_cell(value) for value in msgspec.to_builtins(view).values()] for view in views)


def _cell(value: object) -> object:
    """Return a cell; text that looks like a formula begins with an apostrophe, numbers are numbers."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _lines(rows: Iterable[list[object]]) -> bytes:
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerows(rows)
    return written.getvalue().encode()
