"""What both services write down of one purchase, in words that can be compared.

``pay`` and ``trade`` know nothing of each other; each says of its own rows what they come to, and
`paybell.reconciliation` lays the two side by side.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Standing(StrEnum):
    """What a status comes to, whatever the service calls it."""

    OPEN = "open"
    CLOSED = "closed"
    PAID = "paid"
    REFUNDED = "refunded"


@dataclass(frozen=True, slots=True)
class Bucket:
    """The rows of one piece of time: equal on both sides when count and digest are."""

    count: int
    digest: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One side's row. Amounts are in minor units; ``pay_order_id`` is missing where trade has none yet.

    ``refunded`` is all that was given back so far; an order is `Standing.REFUNDED` when that is everything,
    also when it was cancelled before its money came.
    """

    number: int
    pay_order_id: int | None
    user_id: str
    amount: int
    refunded: int
    currency: str
    status: str
    standing: Standing
    changed_at: datetime

    @property
    def words(self) -> str:
        """Everything that is compared, by which an acknowledged difference is known again."""
        compared = (
            self.status, self.pay_order_id, self.amount, self.refunded, self.currency, self.user_id
        )  # fmt: skip
        return " ".join(map(str, compared))
