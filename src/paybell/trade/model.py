"""The order as a value."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from paybell.messaging.events import PayOrderData


class OrderStatus(StrEnum):
    """Where an order stands."""

    UNPAID = "UNPAID"
    PAID = "PAID"
    CANCELLED = "CANCELLED"
    PARTIALLY_REFUNDED = "PARTIALLY_REFUNDED"
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
    """An order of one buyer; amounts in minor units.

    ``pay_order_id`` is missing until pay has answered. ``version`` is the last one heard of the pay
    order. A cancelled order with ``paid_at`` was paid all the same, and its money goes back.
    """

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
    version: int
    refunded_amount: int

    def agrees_with(self, purchase: Purchase) -> bool:
        """Say whether this is the order asked for."""
        return (self.buyer_id, self.total_fee, self.currency) == (
            purchase.buyer_id,
            purchase.total_fee,
            purchase.currency,
        )

    def is_about(self, said: PayOrderData) -> bool:
        """Say whether pay speaks of this order's money: its pay order, its sum."""
        return (said.amount, said.currency) == (self.total_fee, self.currency) and (
            self.pay_order_id is None or said.pay_order_id == str(self.pay_order_id)
        )

    def hear(self, said: PayOrderData, now: datetime) -> "Order":
        """Return the order after what pay says; what is no news changes nothing."""
        if said.version <= self.version or not self.is_about(said):
            return self
        if said.status == "TRADE_CLOSED" and self.status is OrderStatus.UNPAID:
            return replace(
                self, status=OrderStatus.CANCELLED, version=said.version, cancelled_at=said.closed_at or now
            )
        if said.status == "TRADE_SUCCESS":
            return replace(
                self,
                status=self._status_when_paid(said.refunded_amount),
                version=said.version,
                paid_at=self.paid_at or said.succeeded_at or now,
                refunded_amount=said.refunded_amount,
            )
        return self

    def _status_when_paid(self, refunded_amount: int) -> OrderStatus:
        if self.status is OrderStatus.CANCELLED:
            return OrderStatus.CANCELLED
        if refunded_amount == 0:
            return OrderStatus.PAID
        return OrderStatus.REFUNDED if refunded_amount == self.total_fee else OrderStatus.PARTIALLY_REFUNDED
