"""The settings of Stripe."""

from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from paybell.channels.pace import PaceSettings
from paybell.channels.urls import check_url
from paybell.errors import Misconfigured


@dataclass(frozen=True, kw_only=True)
class StripeSettings(PaceSettings):
    """Who we are at Stripe, and the keys of both sides."""

    stripe_account: Annotated[
        str, Meta(description="Account at Stripe (acct_…); empty: stripe (cards) is not offered.")
    ] = ""
    stripe_api_keys: Annotated[
        str,
        Meta(
            description="Secret or restricted keys (sk_…, rk_…), newest first, separated by commas, or "
            "`file:PATH`. The newest is used."
        ),
    ] = field(default="", repr=False)
    stripe_webhook_secrets: Annotated[
        str,
        Meta(description="Secrets of the webhook endpoint (whsec_…), or `file:PATH`; each verifies."),
    ] = field(default="", repr=False)
    stripe_url: Annotated[str, Meta(description="Stripe's API, without a path.")] = "https://api.stripe.com"

    def check(self) -> None:
        """Check that Stripe has all it needs, or nothing.

        Raises:
            Misconfigured: a key is missing, or calls would go unencrypted to another machine.
        """
        super().check()
        check_url("PAYBELL_STRIPE_URL", self.stripe_url)
        if self.stripe_account and not (self.stripe_api_keys and self.stripe_webhook_secrets):
            raise Misconfigured(
                "PAYBELL_STRIPE_ACCOUNT needs PAYBELL_STRIPE_API_KEYS and PAYBELL_STRIPE_WEBHOOK_SECRETS."
            )
