"""CSV that strangers wrote, read a line at a time: a row is one line, whatever its quotes say.

So a stray quote spoils its own row only, and never makes one cell of the rows below it.
"""

import csv
from collections.abc import Iterator
from io import BufferedIOBase, BufferedReader
from pathlib import Path

from paybell.errors import InvalidRequest

# A few short columns need a few hundred bytes; a line beyond this is not one of such a file.
LINE_MAX_BYTES = 8192
_BOM = b"\xef\xbb\xbf"


class BadLine(Exception):
    """A line that is no row; its words say why."""


def opened(path: Path) -> BufferedReader:
    """Open a file for reading.

    Raises:
        InvalidRequest: it cannot be read.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}.") from error


def lines(file: BufferedIOBase) -> Iterator[tuple[int, bytes]]:
    """Yield lines with their numbers from 1; of one that is too long only so much that it shows."""
    number = 0
    while line := file.readline(LINE_MAX_BYTES + 1):
        number += 1
        rest = line
        while rest and len(rest) > LINE_MAX_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(LINE_MAX_BYTES + 1)
        yield number, line.removeprefix(_BOM) if number == 1 else line


def cells(line: bytes) -> list[str]:
    """Cut a line into its cells.

    Raises:
        BadLine: it is too long, not UTF-8, or its quotes do not fit.
    """
    if len(line) > LINE_MAX_BYTES:
        raise BadLine(f"the line is longer than {LINE_MAX_BYTES} bytes")
    try:
        return next(csv.reader([line.decode("utf-8").rstrip("\r\n")], strict=True), [])
    except UnicodeDecodeError:
        raise BadLine("the line is not UTF-8") from None
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise BadLine("a quote is opened and not closed on the line") from None
        raise BadLine(f"the line is not CSV: {error}") from None
