"""What Paybell says to the world, and what it understands: the wire contract.

`docs/events.md` describes the same for readers. `trade` and users' services know payments by
these classes alone.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime

import msgspec

from paybell.errors import PaybellError
from paybell.ids import ID_MAX
from paybell.messaging.broker import Binding, Delivery, Exchange, Queue, Topology

PAY_SUCCESS = "pay.success"
PAY_CLOSED = "pay.closed"
PAY_REFUNDED = "pay.refunded"
# Every type there is: what is documented, and what tests expect.
EVENT_TYPES = (PAY_SUCCESS, PAY_CLOSED, PAY_REFUNDED)

# Exchange and queue of the system that Paybell replaces: bare order numbers for unmodified Spring services.
PAY_DIRECT = Exchange("pay.direct")
TRADE_QUEUE = "trade.pay.success.queue"
# Typed events beside it.
PAY_EVENTS = Exchange("pay.events", "topic")
# The order service's own queues there; it alone declares them, so that without it nothing piles up.
TRADE_CLOSED_QUEUE = "trade.pay.closed.queue"
TRADE_REFUNDED_QUEUE = "trade.pay.refunded.queue"

EVENT_SOURCE = "/paybell/pay"
CLOUDEVENTS_JSON = "application/cloudevents+json"
SIGNATURE_HEADER = "paybell-signature"
# Whose payment a bare number is about; the signature covers it.
MERCHANT_HEADER = "paybell-merchant"

# A java.lang.Long as ObjectOutputStream writes it (Java Object Serialization Specification,
# chapter 6): always the same 74 bytes, then eight of value. Compared, never deserialised.
_JAVA_LONG_PREFIX = bytes.fromhex(
    "aced00057372000e6a6176612e6c616e672e4c6f6e673b8be490cc8f23df0200014a000576616c7565"
    "787200106a6176612e6c616e672e4e756d62657286ac951d0b94e08b0200007870"
)
_ID = re.compile(r"[1-9][0-9]{0,18}")
_DIGITS = re.compile(rb'"?([0-9]{1,19})"?')


def topology(queue_type: str = "classic") -> Topology:
    """Return what publisher and consumer both declare."""
    return Topology([PAY_DIRECT, PAY_EVENTS], [_binding(TRADE_QUEUE, PAY_DIRECT, PAY_SUCCESS, queue_type)])


def relay_topology(queue_type: str = "classic", article_queue: str = "declare") -> Topology:
    """Return what a relay declares: the same, without the queue of bare numbers if a shop binds its own."""
    everything = topology(queue_type)
    return everything if article_queue == "declare" else Topology(everything.exchanges, [])


def trade_topology(queue_type: str = "classic") -> Topology:
    """Return what the order service declares besides, for typed events."""
    wanted = {TRADE_CLOSED_QUEUE: PAY_CLOSED, TRADE_REFUNDED_QUEUE: PAY_REFUNDED}
    return Topology(
        [PAY_EVENTS], [_binding(name, PAY_EVENTS, key, queue_type) for name, key in wanted.items()]
    )


def _binding(name: str, exchange: Exchange, key: str, queue_type: str) -> Binding:
    return Binding(Queue(name, "quorum" if queue_type == "quorum" else "classic"), exchange, key)


class Unreadable(PaybellError):
    """A delivery that is not of the documented form; it goes to the dead letters."""

    code = "unreadable"


class PayOrderData(msgspec.Struct, frozen=True, rename="camel"):
    """A pay order as events carry it: ids as strings, the amount in minor units."""

    pay_order_id: str
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
    succeeded_at: datetime | None = None
    closed_at: datetime | None = None
    refunded_amount: int = 0
    # Where the money came from; null until it has, and from releases before there were channels.
    channel: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no pay order can hold, so that whoever has one need not look again."""
        for text in (self.pay_order_id, self.biz_order_no):
            if not _ID.fullmatch(text) or int(text) > ID_MAX:
                raise ValueError("an id is not a number from 1 to 9223372036854775807")
        if not all(0 <= number <= ID_MAX for number in (self.amount, self.version, self.refunded_amount)):
            raise ValueError("a number is not from 0 to 9223372036854775807")


class PayOrderEvent(msgspec.Struct, frozen=True):
    """A CloudEvents 1.0 event about a pay order; ``traceparent`` is its tracing extension, if it has one."""

    id: str
    type: str
    time: datetime
    subject: str
    data: PayOrderData
    traceparent: str = ""
    source: str = EVENT_SOURCE
    specversion: str = "1.0"
    datacontenttype: str = "application/json"

    @classmethod
    def from_delivery(cls, delivery: Delivery) -> "PayOrderEvent":
        """Read a structured-mode event from ``pay.events``.

        Raises:
            Unreadable: it is not one.
        """
        try:
            event = msgspec.json.decode(delivery.body, type=cls)
        except msgspec.MsgspecError as error:
            raise Unreadable(f"not a CloudEvent of a pay order: {error}") from error
        return event

    @property
    def event_id(self) -> str:
        """What the inbox knows this event by."""
        return self.id


@dataclass(frozen=True, slots=True)
class SignedEvent:
    """A typed event as it arrived, with what vouches for it."""

    event: PayOrderEvent
    body: bytes
    signature: str

    @classmethod
    def from_delivery(cls, delivery: Delivery) -> "SignedEvent":
        """Read a structured-mode event from ``pay.events``.

        Raises:
            Unreadable: it is not one.
        """
        return cls(PayOrderEvent.from_delivery(delivery), delivery.body, signature_of(delivery))

    @property
    def event_id(self) -> str:
        """What the inbox knows it by: the words too, so that a forged one cannot take a true one's place."""
        return f"{self.event.id}:{hashlib.sha256(self.body).hexdigest()[:32]}"

    @property
    def biz_order_no(self) -> int:
        """Which order it is about."""
        return int(self.event.data.biz_order_no)


@dataclass(frozen=True, slots=True)
class PaymentSucceeded:
    """A bare order number from ``pay.success``, from us or from an unmodified Java service.

    ``merchant_id`` is whose payment it claims to be about; empty: it does not say.
    """

    biz_order_no: int
    signature: str
    merchant_id: str = ""

    @classmethod
    def from_delivery(cls, delivery: Delivery) -> "PaymentSucceeded":
        """Read any of the four forms: a JSON number, quoted digits, text digits, a Java ``Long``.

        Raises:
            Unreadable: it is none of them, or the number is not from 1 to 2^63-1.
        """
        return cls(_read_number(delivery.body), signature_of(delivery), _text(delivery, MERCHANT_HEADER))

    @property
    def event_id(self) -> str:
        """What the inbox knows it by: an order is paid once, so its number and nothing a sender claims."""
        return f"{PAY_SUCCESS}:{self.biz_order_no}"


def signature_of(delivery: Delivery) -> str:
    """Return what its sender has signed it with; empty: nothing that could be a signature."""
    return _text(delivery, SIGNATURE_HEADER)


def _text(delivery: Delivery, header: str) -> str:
    value = delivery.headers.get(header)
    return value if isinstance(value, str) else ""


def _read_number(body: bytes) -> int:
    if body.startswith(_JAVA_LONG_PREFIX) and len(body) == len(_JAVA_LONG_PREFIX) + 8:
        number = int.from_bytes(body[-8:], "big", signed=True)
    else:
        match = _DIGITS.fullmatch(body.strip(b" \t\r\n"))
        if match is None or body.count(b'"') == 1:
            raise Unreadable("the body is not an order number in any accepted form")
        number = int(match[1])
    if not 1 <= number <= ID_MAX:
        raise Unreadable("the order number is not from 1 to 9223372036854775807")
    return number


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """An event that is leased to who holds it; ``body`` is the whole CloudEvent as JSON."""

    id: int
    event_id: str
    type: str
    subject: str
    body: bytes
    occurred_at: datetime
    traceparent: str
