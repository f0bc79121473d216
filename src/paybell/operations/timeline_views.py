"""One payment's way, as operators are shown it."""

from datetime import datetime

import msgspec

from paybell.channels.attempt import AttemptState
from paybell.pay.model import RefundStatus


class Step(msgspec.Struct, frozen=True, rename="camel"):
    """One step: ``done``, ``waiting`` (it should come) or ``unknown`` (done, but nobody knows when).

    ``channel``: of an attempt, by which channel it was.
    """

    name: str
    state: str
    at: datetime | None = None
    since_before_seconds: float | None = None
    channel: str = ""


class TimelineTransfer(msgspec.Struct, frozen=True, rename="camel"):
    """A movement of money, in minor units."""

    id: str
    kind: str
    amount: int
    currency: str
    debit: str
    credit: str
    created_at: datetime


class TimelineRefund(msgspec.Struct, frozen=True, rename="camel"):
    """Money given back, in minor units of the payment's currency, and why; a channel may take its time.

    ``decided_at``: when it had gone back, or was refused; null while it is on its way.
    """

    id: str
    amount: int
    reason: str
    created_at: datetime
    status: RefundStatus
    decided_at: datetime | None


class TimelineAttempt(msgspec.Struct, frozen=True, rename="camel"):
    """What was tried at a channel: where it stands, since when, and what the channel said last."""

    id: str
    channel: str
    state: AttemptState
    created_at: datetime
    changed_at: datetime
    code: str
    detail: str


class Possible(msgspec.Struct, frozen=True, rename="camel"):
    """What can be done now: how much can be given back (minor units), whether to close, to publish again."""

    refundable_amount: int
    may_close: bool
    may_republish: bool


class MessageView(msgspec.Struct, frozen=True, rename="camel"):
    """An event and where it is: ``outbox``, ``applied``, ``retry``, ``dead``.

    ``body``: what it holds, as text. Of a typed event that was applied nothing is kept: null.
    """

    event_id: str
    state: str
    listener: str = ""
    published_at: datetime | None = None
    confirmed_at: datetime | None = None
    received_at: datetime | None = None
    applied_at: datetime | None = None
    failure_id: str | None = None
    reason: str = ""
    attempts: int = 0
    body: str | None = None


class Timeline(msgspec.Struct, frozen=True, rename="camel"):
    """A payment from its order to its order: who, how much, each step, the money and the messages."""

    pay_order_id: str
    biz_order_no: str
    payer_id: str
    merchant_id: str
    amount: int
    currency: str
    refunded_amount: int
    pay_status: str
    order_status: str | None
    steps: list[Step]
    attempts: list[TimelineAttempt]
    transfers: list[TimelineTransfer]
    refunds: list[TimelineRefund]
    messages: list[MessageView]
    possible: Possible
