"""The settings of money from elsewhere."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from paybell.channels.alipay.settings import AlipaySettings
from paybell.channels.stripe.settings import StripeSettings
from paybell.channels.wechat.settings import WechatSettings
from paybell.environment.common import is_base_url, is_plain_http_elsewhere
from paybell.errors import Misconfigured
from paybell.pay.settings import PaySettings


@dataclass(frozen=True, kw_only=True)
class ChannelSettings(PaySettings, AlipaySettings, WechatSettings, StripeSettings):
    """Where money comes from besides balances of our own, and how channels reach us."""

    wallet_kind: Annotated[
        Literal["contract", "legacy"],
        Meta(
            description="What PAYBELL_WALLET_URL speaks: the contract of docs/remote-wallet.md, or the one "
            "endpoint `PUT /users/money/deduct`, which leaves every doubt to a person."
        ),
    ] = "contract"
    wallet_token: Annotated[
        str,
        Meta(
            description="Bearer tokens that the wallet knows us by, newest first, separated by commas, each "
            "as `file:PATH` or itself. A call that is answered with 401 is made again with the next one. "
            "Empty: none is sent."
        ),
    ] = field(default="", repr=False)
    wallet_refusal: Annotated[
        str,
        Meta(description="Of a legacy wallet: the exact body of an answer that means no; empty: none does."),
    ] = ""
    wallet_url_plain_http: Annotated[
        Literal["refuse", "allow"],
        Meta(description="Whether PAYBELL_WALLET_URL may send pay passwords unencrypted to another machine."),
    ] = "refuse"
    notify_url: Annotated[
        str,
        Meta(description="Where channels reach this service from outside, such as https://pay.example."),
    ] = ""

    return_url: Annotated[
        str,
        Meta(
            description="Where a buyer comes back to from a channel's page, `{order}` being the order's "
            "number; empty: the cashier at PAYBELL_NOTIFY_URL."
        ),
    ] = ""

    def check(self) -> None:
        """Check that pay passwords may be sent to the wallet's URL.

        Raises:
            Misconfigured: it is no URL of a service, or unencrypted to another machine.
        """
        super().check()
        for name, url in (("PAYBELL_WALLET_URL", self.wallet_url), ("PAYBELL_NOTIFY_URL", self.notify_url)):
            if url and not is_base_url(url):
                raise Misconfigured(
                    f"{name} must be http://HOST:PORT or https://HOST, with nothing after a ?."
                )
        if self.wallet_url_plain_http == "refuse" and is_plain_http_elsewhere(self.wallet_url):
            raise Misconfigured(
                "PAYBELL_WALLET_URL is http:// to another machine, which sends pay passwords unencrypted: "
                "use https://, or set PAYBELL_WALLET_URL_PLAIN_HTTP=allow where the network is encrypted."
            )
        if (self.alipay_app_id or self.wechat_mchid or self.stripe_account) and not self.notify_url:
            raise Misconfigured(
                "Set PAYBELL_NOTIFY_URL: Alipay, WeChat Pay and Stripe are told where to send notices."
            )
        if self.wallet_refusal and self.wallet_kind != "legacy":
            raise Misconfigured("PAYBELL_WALLET_REFUSAL is for PAYBELL_WALLET_KIND=legacy only.")
