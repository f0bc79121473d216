"""The remote wallet: whether it answers as the contract says, and what a wallet without ids means."""

from collections.abc import AsyncIterator
from datetime import timedelta

from paybell.channels.answers import NotFound, NotSent, Unknown
from paybell.channels.channel import Charge
from paybell.channels.http import ChannelHttp
from paybell.channels.openers import contract_wallet
from paybell.clock import Clock
from paybell.diagnosis.findings import Finding
from paybell.settings import Settings

_PART = "wallet"
# A debit that nobody has made.
_NOBODYS = "doctor"


async def examine_wallet(settings: Settings, clock: Clock) -> AsyncIterator[Finding]:
    """Look at the remote wallet, if balances are there; the question that is asked changes nothing."""
    if not settings.wallet_url:
        return
    if settings.wallet_kind == "legacy":
        yield Finding(
            _PART,
            "warning",
            "has no ids: a wrong password and every doubt wait for two people",
            "Let it keep the contract of docs/remote-wallet.md, then set PAYBELL_WALLET_KIND=contract.",
        )
        return
    now = clock.now()
    charge = Charge(_NOBODYS, "", "", 1, "CNY", "", now, now + timedelta(hours=1))
    async with ChannelHttp.open() as http:
        said = await contract_wallet(settings, http).query(charge)
    match said:
        case NotFound():
            yield Finding(_PART, "ok", "answers as the contract says")
        case NotSent(reason):
            advice = "Start it, or correct PAYBELL_WALLET_URL; payments are refused until then."
            yield Finding(_PART, "error", f"cannot be reached ({reason})", advice)
        case Unknown(reason) if reason.startswith("HTTP 401"):
            yield Finding(_PART, "error", "does not know us (HTTP 401)", "Correct PAYBELL_WALLET_TOKEN.")
        case _:
            reason = said.reason if isinstance(said, Unknown) else type(said).__name__
            command = f"paybell wallet check {settings.wallet_url} --user NAME --pay-password PASSWORD"
            advice = f"{command} says which rule it breaks."
            yield Finding(_PART, "error", f"answers an unseen debit with {reason}", advice)
