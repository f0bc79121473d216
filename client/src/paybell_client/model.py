"""What the service answers. Ids are strings, amounts integers in minor units, times in UTC.

Members that a later release adds are passed over.
"""

from datetime import datetime

import msgspec

_PAID = frozenset(("PAID", "PARTIALLY_REFUNDED", "REFUNDED"))


class Order(msgspec.Struct, frozen=True, rename="camel"):
    """An order; ``status`` is UNPAID, PAID, CANCELLED, PARTIALLY_REFUNDED or REFUNDED."""

    id: str
    buyer_id: str
    total_fee: int
    currency: str
    subject: str
    status: str
    pay_order_id: str | None
    created_at: datetime
    paid_at: datetime | None
    cancelled_at: datetime | None
    refunded_amount: int

    @property
    def is_paid(self) -> bool:
        """Say whether it was paid, given back or not."""
        return self.status in _PAID


class Orders(msgspec.Struct, frozen=True):
    """Several orders."""

    orders: list[Order]


class PayOrder(msgspec.Struct, frozen=True, rename="camel"):
    """A pay order; ``status`` is WAIT_BUYER_PAY, TRADE_SUCCESS or TRADE_CLOSED."""

    id: str
    biz_order_no: str
    merchant_id: str
    payer_id: str
    amount: int
    currency: str
    subject: str
    status: str
    version: int
    created_at: datetime
    expires_at: datetime
    succeeded_at: datetime | None
    closed_at: datetime | None
    refunded_amount: int
    channel: str | None = None

    @property
    def is_paid(self) -> bool:
        """Say whether it was paid; a payment out of a remote wallet may still be being confirmed."""
        return self.status == "TRADE_SUCCESS"


class Wallet(msgspec.Struct, frozen=True, rename="camel"):
    """A balance; ``locked_until`` is told when a wallet is read."""

    user_id: str
    balance: int
    currency: str
    locked_until: datetime | None = None


class Attempt(msgspec.Struct, frozen=True, rename="camel"):
    """A window of a channel to pay in: a code to be scanned, or an address to be sent to."""

    attempt_id: str
    channel: str
    state: str
    qr_code: str | None = None
    redirect_url: str | None = None
    expires_at: datetime | None = None


class Refund(msgspec.Struct, frozen=True, rename="camel"):
    """Money given back; ``status`` is SUCCEEDED, PENDING where it goes back by a channel, or FAILED."""

    refund_id: str
    pay_order_id: str
    biz_order_no: str
    amount: int
    refunded_amount: int
    currency: str
    reason: str
    version: int
    status: str


class Refunds(msgspec.Struct, frozen=True):
    """A payment's refunds, oldest first."""

    refunds: list[Refund]
