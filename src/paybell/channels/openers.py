"""Every channel there is, out of the settings; those that are not set up are None."""

from collections.abc import Callable

from paybell.channels.alipay.opening import alipay_page, alipay_qr
from paybell.channels.channel import Channel
from paybell.channels.http import ChannelHttp
from paybell.channels.keyring import Keyring
from paybell.channels.legacy_wallet import LegacyWallet
from paybell.channels.settings import ChannelSettings
from paybell.channels.stripe.opening import stripe_cards
from paybell.channels.wallet import RemoteWallet, Token
from paybell.channels.wechat.opening import wechat_qr
from paybell.clock import Clock
from paybell.errors import Misconfigured

# Makes a channel of the settings; None where they do not ask for it.
Opener = Callable[[ChannelSettings, ChannelHttp, Clock], Channel | None]


def contract_wallet(settings: ChannelSettings, http: ChannelHttp) -> RemoteWallet:
    """Return the user service that can be asked about each id.

    Raises:
        Misconfigured: there is none, it is one without ids, or a token of ours cannot be read.
    """
    if not settings.wallet_url or settings.wallet_kind == "legacy":
        raise Misconfigured(
            "Set PAYBELL_WALLET_URL to a wallet by the contract; a legacy one cannot be asked."
        )
    tokens = Keyring("PAYBELL_WALLET_TOKEN", settings.wallet_token, Token)
    return RemoteWallet(http, settings.wallet_url, tokens, settings.calls)


def remote_wallet(settings: ChannelSettings, http: ChannelHttp, clock: Clock) -> Channel | None:
    """Return the user service that holds the balances, if one does."""
    del clock
    if not settings.wallet_url:
        return None
    if settings.wallet_kind == "legacy":
        return LegacyWallet(http, settings.wallet_url, settings.wallet_refusal)
    return contract_wallet(settings, http)


# Every channel there is; those that are set up are opened.
OPENERS: tuple[Opener, ...] = (remote_wallet, alipay_qr, alipay_page, wechat_qr, stripe_cards)
