"""What a channel's bill says, whatever its form, and how that differs from what we entered; pure."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Literal, NamedTuple

from paybell.errors import Refused

Kind = Literal["payment", "refund"]


class BadBill(Refused):
    """A file that is no bill of the channel's, or whose rows do not come to its own totals."""

    code = "bad_bill"
    detail = "This file is no whole bill of the channel; get it again."


class NoBill(Refused):
    """The channel gives no bill of this day."""

    code = "no_bill"
    detail = "The channel has no bill of this day."


class Key(NamedTuple):
    """What both sides know a row by: our number of the attempt, or of the refund."""

    kind: Kind
    number: str


class Entry(NamedTuple):
    """What one side says: so much (minor units, positive), under the channel's own number."""

    amount: int
    currency: str
    transaction_id: str


class Differs(StrEnum):
    """How both sides differ."""

    AMOUNT = "amount_differs"
    OURS_ONLY = "ours_only"
    THEIRS_ONLY = "theirs_only"


class Difference(NamedTuple):
    """One row that is not the same on both sides."""

    key: Key
    how: Differs
    ours: Entry | None
    theirs: Entry | None


def collected(rows: Sequence[tuple[Key, Entry]]) -> Mapping[Key, Entry]:
    """Return the rows of a bill by what they are known by.

    Raises:
        BadBill: one stands there twice.
    """
    bill = dict(rows)
    if len(bill) != len(rows):
        raise BadBill("The bill has the same payment or refund twice; get it again.")
    return bill


def differences(ours: Mapping[Key, Entry], theirs: Mapping[Key, Entry]) -> Sequence[Difference]:
    """Return what is not equal, in order of the numbers."""
    found = list[Difference]()
    for key in sorted(ours.keys() | theirs.keys()):
        mine, other = ours.get(key), theirs.get(key)
        if mine is None:
            found.append(Difference(key, Differs.THEIRS_ONLY, None, other))
        elif other is None:
            found.append(Difference(key, Differs.OURS_ONLY, mine, None))
        elif mine[:2] != other[:2]:
            found.append(Difference(key, Differs.AMOUNT, mine, other))
    return found
