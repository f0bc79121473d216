"""What is refused about money from elsewhere."""

from collections.abc import Mapping

from paybell.errors import PaybellError, Refused, Unavailable
from paybell.wallet.errors import InsufficientBalance, PayPasswordLocked, WalletNotFound, WrongPayPassword


class ChannelUnavailable(Unavailable):
    """The channel is away, or has as much to do as it may have; nothing was sent to it."""

    code = "channel_unavailable"
    detail = "Where the money comes from does not answer; nothing was paid, try again shortly."
    retry_after_seconds = 5


class ChannelRefused(Refused):
    """The channel has said no, for a reason of its own; see ``channelCode``."""

    code = "channel_refused"
    detail = "Where the money comes from refused this payment; see channelCode."


class ChannelNotOffered(Refused):
    """There is no such channel here, or not for this amount, currency or time."""

    code = "channel_not_offered"
    detail = "This way to pay is not offered for this order; choose another one."


class UnknownAttempt(Refused):
    """There is no such attempt."""

    code = "attempt_not_found"
    detail = "There is no such attempt."


class NothingToSettle(Refused):
    """The attempt is decided, or still queried or given back by itself."""

    code = "attempt_not_manual"
    detail = "Only an attempt in the state MANUAL, or whose channel refused to give back, is settled by hand."


class SecondPersonNeeded(Refused):
    """Whoever asked for a settlement cannot confirm it."""

    code = "second_person_needed"
    detail = "Another person has to confirm this settlement, with the same outcome and a token of their own."


class SettlementDiffers(Refused):
    """The second person says something else than the first."""

    code = "settlement_differs"
    detail = "The first person asked for another outcome or reference; see the attempt, or withdraw it first."


class NothingAsked(Refused):
    """Nobody has asked for a settlement of this attempt, or it is confirmed."""

    code = "settlement_not_asked"
    detail = "Nothing is asked for that could be withdrawn; see the attempt, it may be settled."


class ReceiptTaken(Refused):
    """Another attempt was paid under this reference: one payment at the channel settles one attempt."""

    code = "reference_taken"
    detail = "Another attempt was paid under this reference; look both up in the channel's records."


# How the refusals of a remote wallet are said by Paybell, whose own they are otherwise.
_OF_A_WALLET: Mapping[str, type[PaybellError]] = {
    "INSUFFICIENT": InsufficientBalance,
    "BAD_CREDENTIAL": WrongPayPassword,
    "NO_WALLET": WalletNotFound,
    "not_sent": ChannelUnavailable,
}


def refusal_of(code: str) -> PaybellError:
    """Return how a payer reads that an attempt was refused or closed with this code."""
    if code == "USER_LOCKED":
        return PayPasswordLocked("The wallet has locked this pay password; it says until when.")
    if known := _OF_A_WALLET.get(code):
        return known()
    return ChannelRefused(channelCode=code)
