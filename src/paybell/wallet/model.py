"""A wallet as its user sees it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Wallet:
    """A user's balance in one currency, in minor units, and until when its pay password is locked."""

    user_id: str
    balance: int
    currency: str
    locked_until: datetime | None = None
