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

    ``pay_order_id`` is missing until pay has answered. ``version`` is that of the last event applied of
    the pay order. A cancelled order with ``paid_at`` was paid all the same, and its money goes back.
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

    def matches(self, pay_order: PayOrderData) -> bool:
        """Say whether this is the pay order of this order, with its amount and currency."""
        return (pay_order.amount, pay_order.currency) == (self.total_fee, self.currency) and (
            self.pay_order_id is None or pay_order.pay_order_id == str(self.pay_order_id)
        )

    def with_pay_order(self, pay_order: PayOrderData, now: datetime) -> "Order":
        """Return the order after a state of its pay order; one that is not newer changes nothing."""
        if pay_order.version <= self.version or not self.matches(pay_order):
            return self
        if pay_order.status == "TRADE_CLOSED" and self.status is OrderStatus.UNPAID:
            return replace(
                self,
                status=OrderStatus.CANCELLED,
                version=pay_order.version,
                cancelled_at=pay_order.closed_at or now,
            )
        if pay_order.status == "TRADE_SUCCESS":
            return replace(
                self,
                status=self._status_when_paid(pay_order.refunded_amount),
                version=pay_order.version,
                paid_at=self.paid_at or pay_order.succeeded_at or now,
                refunded_amount=pay_order.refunded_amount,
            )
        return self

    def _status_when_paid(self, refunded_amount: int) -> OrderStatus:
        if self.status is OrderStatus.CANCELLED:
            return OrderStatus.CANCELLED
        if refunded_amount == 0:
            return OrderStatus.PAID
        return OrderStatus.REFUNDED if refunded_amount == self.total_fee else OrderStatus.PARTIALLY_REFUNDED
