"""Channels: their key files, how long certificates last, and whether each side takes the other's keys."""

from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta

from paybell.channels.alipay.channel import AlipayChannel
from paybell.channels.alipay.opening import alipay_qr
from paybell.channels.answers import NotFound, NotSent, Unknown
from paybell.channels.channel import Charge
from paybell.channels.crypto import AppCertificate, PublicKey
from paybell.channels.http import ChannelHttp
from paybell.channels.stripe.channel import StripeChannel
from paybell.channels.stripe.opening import stripe_cards
from paybell.channels.wechat.channel import WechatChannel
from paybell.channels.wechat.opening import wechat_qr
from paybell.clock import Clock
from paybell.diagnosis.findings import Finding, of_error
from paybell.errors import PaybellError
from paybell.settings import Settings

_WARN_BEFORE = timedelta(days=30)
# A payment that no channel can have; Stripe is asked by its own kind of id.
_NOBODYS, _NOBODYS_REFERENCE = "000000", "cs_doctor"
_SIGNATURE_WORDS = ("not_signed", "not signed", "bad_signature", "unknown_key")
Known = AlipayChannel | WechatChannel | StripeChannel


async def examine_channels(settings: Settings, clock: Clock) -> AsyncIterator[Finding]:
    """Look at each channel that is set up; the question that is asked there changes nothing."""
    async with ChannelHttp.open() as http:
        for name, opening in (("alipay", alipay_qr), ("wechat", wechat_qr), ("stripe", stripe_cards)):
            try:
                channel: Known | None = opening(settings, http, clock)
            except PaybellError as error:
                yield of_error(name, error)
                continue
            if channel is None:
                continue
            for finding in _keys(channel, clock.now()):
                yield finding
            yield await _answer(channel, clock.now())


def _keys(channel: Known, now: datetime) -> Iterator[Finding]:
    for ring in channel.keyrings:
        for file in ring.open_files():
            yield Finding(channel.name, "warning", f"{file} can be read by others", f"Run chmod 600 {file}.")
        for _, one in ring.all:
            key = one.public if isinstance(one, AppCertificate) else one
            if isinstance(key, PublicKey) and key.ends_at is not None and key.ends_at < now + _WARN_BEFORE:
                yield Finding(
                    channel.name,
                    "error" if key.ends_at < now else "warning",
                    f"certificate {key.serial} of {ring.setting} ends on {key.ends_at:%Y-%m-%d}",
                    "Add the new one behind a comma before that day, and remove this one a week after.",
                )


async def _answer(channel: Known, now: datetime) -> Finding:
    nobodys = Charge(
        _NOBODYS, "", "", 1, "CNY", "", now, now + timedelta(hours=2), reference=_NOBODYS_REFERENCE
    )
    said = await channel.query(nobodys)
    if isinstance(said, NotFound) or said == Unknown("resource_missing"):
        return Finding(channel.name, "ok", "answers, and each side takes the other's keys")
    if isinstance(said, NotSent):
        return Finding(
            channel.name, "error", f"cannot be reached ({said.reason})", "Open the way out to it, or wait."
        )
    reason = said.reason if isinstance(said, Unknown) else type(said).__name__
    if any(word in reason for word in _SIGNATURE_WORDS):
        advice = (
            "Its public key or ours does not match: compare both with what its console shows; see "
            f"docs/channels/{channel.name}.md."
        )
    else:
        advice = f"Look the code up in docs/channels/{channel.name}.md."
    return Finding(channel.name, "error", f"answers with {reason}", advice)
