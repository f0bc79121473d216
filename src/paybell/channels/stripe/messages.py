"""What is said to Stripe, and what its answers mean."""

from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote, urlencode

import msgspec

from paybell.channels.strict_json import convert, read_object

# Pinned: an account's own default changes what the fields below are.
VERSION = "2025-09-30.clover"
# Checkout takes deadlines from half an hour to a day ahead.
EXPIRES_SECONDS_MIN, EXPIRES_SECONDS_MAX = 1_800, 86_400
# Stripe counts these in whole units, and some that ISO 4217 gives other digits in hundredths.
ZERO_DECIMAL = frozenset("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF UGX VND VUV XAF XOF XPF".split())
_AS_HUNDREDTHS = frozenset({"ISK", "UGX"})
AMOUNT_MAX = 99_999_999


class Session(msgspec.Struct, frozen=True):
    """A Checkout session, with its payment intent's id."""

    id: str
    status: str = ""
    payment_status: str = ""
    url: str | None = None
    amount_total: int | None = None
    currency: str | None = None
    client_reference_id: str | None = None
    payment_intent: str | None = None
    livemode: bool = False


class Refund(msgspec.Struct, frozen=True):
    """A refund: pending, requires_action, succeeded, failed or canceled."""

    id: str
    status: str | None = None
    amount: int = -1
    currency: str = ""
    payment_intent: str | None = None
    metadata: dict[str, str] = {}


class Fault(msgspec.Struct, frozen=True):
    """What stands under ``error``."""

    type: str = ""
    code: str = ""
    message: str = ""
    decline_code: str = ""


class EventObject(msgspec.Struct, frozen=True):
    """What says which object an event is about; everything else is asked for."""

    id: str = ""
    object: str = ""
    client_reference_id: str | None = None
    payment_intent: str | None = None
    metadata: dict[str, str] | None = None
    # Of disputes alone; what is said of them is shown to people, and nothing follows from it.
    amount: int | None = None
    currency: str | None = None
    reason: str | None = None
    status: str | None = None


class EventData(msgspec.Struct, frozen=True):
    """The object of an event."""

    object: EventObject


class Event(msgspec.Struct, frozen=True):
    """A webhook's body."""

    id: str
    type: str
    data: EventData
    livemode: bool = False


class _Sessions(msgspec.Struct, frozen=True):
    data: list[Session]
    has_more: bool


class _Refunds(msgspec.Struct, frozen=True):
    data: list[Refund]
    has_more: bool


class _Faulty(msgspec.Struct, frozen=True):
    error: Fault


def form(fields: Mapping[str, object]) -> bytes:
    """Encode nested fields as Stripe reads them: ``line_items[0][price_data][currency]=cny``."""
    pairs = list[tuple[str, str]]()
    for name, value in fields.items():
        _flatten(name, value, pairs)
    return urlencode(pairs).encode()


def _flatten(name: str, value: object, pairs: list[tuple[str, str]]) -> None:
    if isinstance(value, Mapping):
        for inner, one in value.items():
            _flatten(f"{name}[{inner}]", one, pairs)
    elif isinstance(value, list):
        for place, one in enumerate(value):
            _flatten(f"{name}[{place}]", one, pairs)
    else:
        pairs.append((name, str(value)))


def session_form(
    number: str, amount: int, currency: str, subject: str, *, expires_at: datetime | None, return_url: str
) -> bytes:
    """Return the form that opens a Checkout session.

    Args:
        number: of the attempt; comes back as ``client_reference_id``, and in the intent's metadata.
        amount: in the currency's minor units, which are Stripe's too.
        currency: of ISO 4217.
        subject: what the buyer reads.
        expires_at: at least half an hour ahead; None: a day from now.
        return_url: where the browser goes afterwards, paid or not; proves nothing.
    """
    deadline = {} if expires_at is None else {"expires_at": int(expires_at.timestamp())}
    price = {
        "currency": currency.lower(),
        "unit_amount": amount,
        "product_data": {"name": subject.strip() or number},
    }
    return form(
        {
            "mode": "payment",
            "client_reference_id": number,
            "line_items": [{"quantity": 1, "price_data": price}],
            "payment_intent_data": {"metadata": {"attempt": number}},
            "metadata": {"attempt": number},
            # Others may be decided days later; a card is decided at once.
            "payment_method_types": ["card"],
            **deadline,
            "success_url": return_url,
            "cancel_url": return_url,
        }
    )


def path(kind: str, object_id: str = "", action: str = "") -> str:
    """Return a path of the API; ids are escaped, so that they cannot lead elsewhere."""
    parts = ["v1", *kind.split("/"), *([object_id] if object_id else []), *([action] if action else [])]
    return "/" + "/".join(quote(part, safe="") for part in parts)


def read_session(body: bytes) -> Session:
    """Read a session.

    Raises:
        Malformed: it is none.
    """
    return convert(read_object(body), Session)


def read_sessions(body: bytes) -> tuple[list[Session], bool]:
    """Read the newest sessions, and whether these are all.

    Raises:
        Malformed: it is no page of them.
    """
    page = convert(read_object(body), _Sessions)
    return page.data, not page.has_more


def read_refund(body: bytes) -> Refund:
    """Read a refund.

    Raises:
        Malformed: it is none.
    """
    return convert(read_object(body), Refund)


def read_refunds(body: bytes) -> tuple[list[Refund], bool]:
    """Read a page of refunds, and whether it holds all.

    Raises:
        Malformed: it is none.
    """
    page = convert(read_object(body), _Refunds)
    return page.data, not page.has_more


def read_fault(body: bytes) -> Fault:
    """Read an error.

    Raises:
        Malformed: it is none.
    """
    return convert(read_object(body), _Faulty).error


def read_event(body: bytes) -> Event:
    """Read a webhook that was verified.

    Raises:
        Malformed: of another form.
    """
    return convert(read_object(body), Event)


def takes(currency: str, digits: int) -> bool:
    """Say whether Stripe counts a currency in the minor units of ISO 4217.

    Args:
        currency: of ISO 4217.
        digits: of its minor unit.
    """
    return currency not in _AS_HUNDREDTHS and digits == (0 if currency in ZERO_DECIMAL else 2)
