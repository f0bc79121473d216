"""What a channel may say of an attempt or of a refund; where nothing is certain it says `Unknown`."""

from dataclasses import dataclass, field

# Characters of a channel's own numbers, of what a QR code holds, and of a page's address; the schema's, too.
NUMBER_MAX, QR_MAX, URL_MAX = 255, 2_048, 8_192


@dataclass(frozen=True, slots=True)
class Opened:
    """A window is open: the buyer scans ``qr_code`` or goes to ``redirect_url``."""

    qr_code: str = ""
    redirect_url: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """It is there, nobody has paid it yet, and somebody still may."""


@dataclass(frozen=True, slots=True)
class Paid:
    """The money has moved: so much (minor units), for which merchant, under the channel's own number."""

    amount: int
    currency: str
    transaction_id: str
    merchant: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A documented, verified and final no: ``code`` for programs, ``words`` for people."""

    code: str
    words: str = ""


@dataclass(frozen=True, slots=True)
class Closed:
    """The channel has confirmed that it can never be paid."""


@dataclass(frozen=True, slots=True)
class NotFound:
    """The channel does not know it; a request of ours may still be on its way."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nothing is certain: silence, half an answer, a server's fault, a code that nobody documents.

    ``answered``: the channel is well, and only this one is not certain, see `undecided`.
    """

    reason: str
    answered: bool = field(default=False, compare=False)


def undecided(reason: str) -> Unknown:
    """Return what is not certain of one attempt or refund, though its channel answers: no other waits."""
    return Unknown(reason, answered=True)


@dataclass(frozen=True, slots=True)
class NotSent:
    """Certainly no byte has left: no name, no connection, no handshake."""

    reason: str


@dataclass(frozen=True, slots=True)
class RefundAccepted:
    """The channel has taken the refund and not finished it."""


@dataclass(frozen=True, slots=True)
class RefundDone:
    """The money has gone back."""

    transaction_id: str = ""


@dataclass(frozen=True, slots=True)
class RefundFailed:
    """A documented, verified and final no; not for what may succeed later under the same number."""

    code: str
    words: str = ""


def storable(said: "Said") -> "Said":
    """Return what was said, or doubt where a number or address of the channel cannot be kept."""
    match said:
        case Paid(transaction_id=number):
            sound = _is_text(number, NUMBER_MAX) and number != ""
        case Opened(qr_code, redirect_url, reference):
            sound = _is_text(qr_code, QR_MAX) and _is_text(redirect_url, URL_MAX)
            sound = sound and _is_text(reference, NUMBER_MAX)
        case _:
            return said
    return said if sound else undecided("a number or an address that is no text, or too long")


def _is_text(text: str, most: int) -> bool:
    return len(text) <= most and text.isprintable()


OpenSaid = Opened | Paid | Refused | Unknown | NotSent
QuerySaid = Waiting | Paid | Refused | Closed | NotFound | Unknown | NotSent
CloseSaid = Closed | Paid | Refused | NotFound | Unknown | NotSent
Said = Opened | QuerySaid
RefundSaid = RefundAccepted | RefundDone | RefundFailed | NotFound | Unknown | NotSent
