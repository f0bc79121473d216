"""What a channel is: where the money of an attempt comes from, behind one small interface.

A channel knows one wire format and nothing of states: it says what it was answered, in the few words of
`answers`, and `decision.decide` makes of it what is written. It never guesses: whatever is not documented
and verified is `Unknown`, and `NotSent` is said only where certainly no byte of the request has left.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from paybell.channels.answers import CloseSaid, OpenSaid, QuerySaid, RefundSaid
from paybell.errors import Refused as RefusedRequest


class Kind(StrEnum):
    """How a channel moves money."""

    # The call itself moves it: in doubt from its first byte to a certain answer.
    CALL = "call"
    # The call opens a window in which the buyer may pay; it moves nothing and may be repeated as it was.
    WINDOW = "window"


@dataclass(frozen=True, slots=True)
class Offer:
    """For which payments a channel is offered: currencies, amounts in minor units, time left to pay."""

    currencies: frozenset[str] | None = None
    least: int = 1
    most: int = 10**15
    shortest: timedelta = timedelta(0)

    def covers(self, amount: int, currency: str, left: timedelta) -> bool:
        """Say whether such a payment may be tried."""
        known = self.currencies is None or currency in self.currencies
        return known and self.least <= amount <= self.most and left >= self.shortest


@dataclass(frozen=True, slots=True)
class Charge:
    """One attempt to take money; the same for every call about it.

    Attributes:
        attempt_id: the number the channel knows it by; up to 19 digits, never used for another attempt.
        pay_order_id: what is paid.
        payer_id: who pays.
        amount: in minor units.
        currency: of ISO 4217.
        subject: what the buyer reads, up to 256 characters.
        made_at: before this nothing of it was sent; in UTC.
        expires_at: after this nobody may pay any more; absolute, in UTC.
        notify_url: where the channel sends its notices; empty: nowhere.
        return_url: where the buyer's browser goes afterwards; it proves nothing.
        reference: what the channel itself called this attempt when it was opened; empty: nothing.
        credential: what the payer gave us to pass on, such as a pay password; in memory only.
    """

    attempt_id: str
    pay_order_id: str
    payer_id: str
    amount: int
    currency: str
    subject: str
    made_at: datetime
    expires_at: datetime
    notify_url: str = ""
    return_url: str = ""
    reference: str = ""
    credential: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Return:
    """Money that goes back for a charge that was paid.

    Attributes:
        refund_id: the number the channel knows it by; up to 19 digits, the same however often it is asked.
        charge: what was paid.
        transaction_id: what the channel called that payment.
        amount: in minor units, of the charge's currency.
        reason: for people, up to 256 characters.
    """

    refund_id: str
    charge: Charge
    transaction_id: str
    amount: int
    reason: str = ""


# Notices ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Notice:
    """A request that claims to come from a channel; header names in lower case, the body as it came."""

    headers: Mapping[str, str]
    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Disputed:
    """The buyer disputes a payment: the channel's number of that, and of the payment; in minor units."""

    number: str
    transaction_id: str
    amount: int
    currency: str
    reason: str
    status: str
    closed: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """A verified notice about one attempt, or about one refund.

    Attributes:
        notice_id: the channel's number of it, the same when it is sent again.
        attempt_id: about which attempt; empty: about something that is not ours to follow.
        said: what it says; None: the channel is to be asked.
        refund_id: about which refund; empty: about the payment.
        refund_said: what it says of the refund; None: the channel is to be asked.
        disputed: what it says of a dispute about a payment, which it names by the channel's number.
    """

    notice_id: str
    attempt_id: str
    said: QuerySaid | None = None
    refund_id: str = ""
    refund_said: RefundSaid | None = None
    disputed: Disputed | None = None


@dataclass(frozen=True, slots=True)
class NoticeAnswer:
    """What the channel expects to be answered."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain"


class NoticeRefused(RefusedRequest):
    """A notice that is unsigned, badly signed, too old, or of no form the channel has; it changes nothing."""

    code = "notice_refused"
    detail = "This notice is not signed by the channel, or it is too old."


class Channel(Protocol):
    """One source of money. Every call is bounded in time and raises nothing for what the channel does.

    Attributes:
        name: as in URLs and rows.
        kind: how it moves money.
        offer: for which payments it is there.
        merchant: who we are to it; `Paid.merchant` has to be the same.
        schedule: after how many seconds an attempt in doubt is queried, again and again; when it is used up
            a person has to look. Empty: it cannot be queried. Of windows, the last one goes on to the
            deadline.
    """

    name: str
    kind: Kind
    offer: Offer
    merchant: str
    schedule: tuple[float, ...]

    async def open(self, charge: Charge) -> OpenSaid:
        """Take the money, or open the window. May be repeated, as it was, for a window only."""
        ...

    async def query(self, charge: Charge) -> QuerySaid:
        """Ask what has become of it."""
        ...

    async def close(self, charge: Charge) -> CloseSaid:
        """Make sure that it can never be paid: close the window, or reverse the call.

        `Closed` is said only when that is certain, also of a number the channel had never seen.
        """
        ...

    async def refund(self, back: Return) -> RefundSaid:
        """Give money back; the same number again is the same refund."""
        ...

    async def query_refund(self, back: Return) -> RefundSaid:
        """Ask what has become of a refund."""
        ...

    def read_notice(self, notice: Notice) -> Heard:
        """Verify, then read.

        Raises:
            NoticeRefused: it is not the channel's.
        """
        ...

    def answer_notice(self, *, taken: bool) -> NoticeAnswer:
        """Return what the channel wants to read; not taken: it is to send the notice again."""
        ...
