"""The pay order as a value."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import msgspec

from paybell.errors import AlreadyPaid, PayOrderClosed, Refused
from paybell.messaging.events import PayOrderData, PayOrderEvent
from paybell.pay.errors import PayOrderMismatch, PayOrderNotPaid, RefundExceedsPayment
from paybell.pay.status import PayEvent, PayStatus, advance

# The channel that is Paybell's own: the payer's balance.
BALANCE = "balance"


class PayOrder(msgspec.Struct, frozen=True, gc=False):
    """What is to be paid, by whom, to whom, until when. Amounts in minor units; columns in table order.

    ``channel`` is where the money came from: ``balance``, or another one's name; None until it has come.
    """

    id: int
    merchant_id: str
    biz_order_no: int
    payer_id: str
    payee_account: int
    amount: int
    currency: str
    subject: str
    status: PayStatus
    version: int
    created_at: datetime
    expires_at: datetime
    succeeded_at: datetime | None
    closed_at: datetime | None
    refunded_amount: int
    channel: str | None = None

    def refusal(self, now: datetime) -> Refused | None:
        """Say why this order cannot be paid or closed any more, None if it can."""
        if self.status is PayStatus.TRADE_SUCCESS:
            return AlreadyPaid(payOrderId=str(self.id))
        if self.status is PayStatus.TRADE_CLOSED or now >= self.expires_at:
            return PayOrderClosed(payOrderId=str(self.id))
        return None

    def pay(self, now: datetime, channel: str = BALANCE) -> "PayOrder":
        """Return the order as paid with money from this channel."""
        status = self._advanced(PayEvent.PAID)
        return msgspec.structs.replace(
            self, status=status, version=self.version + 1, succeeded_at=now, channel=channel
        )

    def close(self, now: datetime) -> "PayOrder":
        """Return the order as closed."""
        status = self._advanced(PayEvent.CLOSED)
        return msgspec.structs.replace(self, status=status, version=self.version + 1, closed_at=now)

    def refund(self, amount: int, pending: int = 0) -> "PayOrder":
        """Return the order with so much more given back, while so much is on its way back already.

        Raises:
            PayOrderNotPaid, RefundExceedsPayment: it cannot be.
        """
        if self.status is not PayStatus.TRADE_SUCCESS:
            raise PayOrderNotPaid
        left = self.amount - self.refunded_amount - pending
        if amount > left:
            raise RefundExceedsPayment(refundableAmount=left)
        refunded = self.refunded_amount + amount
        return msgspec.structs.replace(self, version=self.version + 1, refunded_amount=refunded)

    def _advanced(self, event: PayEvent) -> PayStatus:
        status = advance(self.status, event)
        assert status is not None, f"{event} of an order that is {self.status.name}"
        return status

    @property
    def event_id(self) -> str:
        """The id of the event that announces this version."""
        return f"{self.id}-{self.version}"

    def event(self, event_type: str, occurred_at: datetime, traceparent: str) -> PayOrderEvent:
        """Return the event that announces this version; its id is the same however often it is made."""
        data = PayOrderData(
            pay_order_id=str(self.id),
            biz_order_no=str(self.biz_order_no),
            merchant_id=self.merchant_id,
            payer_id=self.payer_id,
            amount=self.amount,
            currency=self.currency,
            subject=self.subject,
            status=self.status.name,
            version=self.version,
            created_at=self.created_at,
            expires_at=self.expires_at,
            succeeded_at=self.succeeded_at,
            closed_at=self.closed_at,
            refunded_amount=self.refunded_amount,
            channel=self.channel,
        )
        return PayOrderEvent(
            id=self.event_id,
            type=event_type,
            time=occurred_at,
            subject=data.biz_order_no,
            data=data,
            traceparent=traceparent,
        )


class RefundStatus(StrEnum):
    """Where a refund stands: on its way by a channel, with the payer, or back at the merchant."""

    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Refund:
    """Money given back, in minor units; the number is the merchant's, one refund's for ever."""

    id: int
    pay_order_id: int
    number: str
    amount: int
    reason: str
    status: RefundStatus = RefundStatus.SUCCEEDED


@dataclass(frozen=True, slots=True)
class WayBack:
    """By which attempt of which channel a payment came, and how much (minor units) is on its way back."""

    attempt_id: int
    channel: str
    pending: int


@dataclass(frozen=True, slots=True)
class Application:
    """A request for a pay order, checked for form."""

    merchant_id: str
    biz_order_no: int
    payer_id: str
    amount: int
    currency: str
    subject: str
    ttl_seconds: int

    @property
    def key(self) -> tuple[str, int]:
        """What there is one pay order for: merchant and business order number."""
        return self.merchant_id, self.biz_order_no

    def agrees_with(self, order: PayOrder) -> bool:
        """Say whether the order there is, is the order asked for."""
        return (self.payer_id, self.amount, self.currency) == (order.payer_id, order.amount, order.currency)

    def answer(self, order: PayOrder, now: datetime) -> Refused | None:
        """Say why the order there is cannot be the answer, None if it can."""
        return order.refusal(now) if self.agrees_with(order) else PayOrderMismatch()
