"""Stripe's channel out of its settings."""

from paybell.channels.http import ChannelHttp
from paybell.channels.keyring import Keyring
from paybell.channels.stripe.api import StripeApi
from paybell.channels.stripe.channel import StripeChannel
from paybell.channels.stripe.settings import StripeSettings
from paybell.channels.stripe.signing import ApiKey, Secret
from paybell.clock import Clock
from paybell.errors import Misconfigured


def stripe_api(settings: StripeSettings, http: ChannelHttp) -> StripeApi:
    """Return the account's API.

    Raises:
        Misconfigured: a key is of another form, or its file cannot be read.
    """
    return StripeApi(settings.stripe_url, http, _api_keys(settings))


def _api_keys(settings: StripeSettings) -> Keyring[ApiKey]:
    return Keyring("PAYBELL_STRIPE_API_KEYS", settings.stripe_api_keys, ApiKey)


def stripe_cards(settings: StripeSettings, http: ChannelHttp, clock: Clock) -> StripeChannel | None:
    """Return the channel of cards, None if Stripe is not set up.

    Raises:
        Misconfigured: a key is of another form or its file cannot be read, or their modes differ.
    """
    if not settings.stripe_account:
        return None
    api_keys = _api_keys(settings)
    if len({key.live for _, key in api_keys.all}) != 1:
        raise Misconfigured("PAYBELL_STRIPE_API_KEYS: keys of test and live mode are two merchants.")
    return StripeChannel(
        "stripe",
        settings.stripe_account,
        settings.stripe_url,
        http,
        clock,
        api_keys=api_keys,
        secrets=Keyring("PAYBELL_STRIPE_WEBHOOK_SECRETS", settings.stripe_webhook_secrets, Secret),
        schedule=settings.windows,
    )
