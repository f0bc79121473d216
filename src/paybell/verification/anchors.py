"""Heads of the chain, noted in a file that the database's owner cannot write.

A line of JSON for each: whoever rewrites or cuts off the chain cannot make these heads part of it again.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from paybell.errors import Misconfigured


class Anchor(msgspec.Struct, frozen=True, rename="camel"):
    """The last block of the chain at a time: its id, its last transfer's, and the hash of all up to it."""

    block: int
    last_id: int
    chain: bytes
    at: datetime


def read_anchors(path: Path) -> Sequence[Anchor]:
    """Return what a file holds, oldest first; none where it is not there yet.

    Raises:
        Misconfigured: it cannot be read, or a line is no anchor.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}.") from error
    try:
        return [msgspec.json.decode(line, type=Anchor) for line in lines]
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Misconfigured(f"{path} holds something else than anchors: {error}.") from error


def note_anchor(path: Path, anchor: Anchor) -> None:
    """Add a head to a file.

    Raises:
        Misconfigured: it cannot be written.
    """
    try:
        with path.open("ab") as file:
            file.write(msgspec.json.encode(anchor) + b"\n")
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror}.") from error
