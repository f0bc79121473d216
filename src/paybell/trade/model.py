"""The order as a value."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class OrderStatus(StrEnum):
    """Where an order stands."""

    UNPAID = "UNPAID"
    PAID = "PAID"
    CANCELLED = "CANCELLED"
    REFUNDED = "REFUNDED"


@dataclass(frozen=True, slots=True)
class Purchase:
    """What somebody wants to buy, checked for form; the fee in minor units."""

    order_id: int
    buyer_id: str
    total_fee: int
    currency: str
    subject: str


@dataclass(frozen=True, slots=True)
class Order:
    """An order of one buyer; ``pay_order_id`` is missing until pay has answered."""

    id: int
    buyer_id: str
    total_fee: int
    currency: str
    subject: str
    status: OrderStatus
    pay_order_id: int | None
    created_at: datetime
    paid_at: datetime | None
    cancelled_at: datetime | None

    def agrees_with(self, purchase: Purchase) -> bool:
        """Say whether this is the order asked for."""
        return (self.buyer_id, self.total_fee, self.currency) == (
            purchase.buyer_id,
            purchase.total_fee,
            purchase.currency,
        )
