"""The settings of money from elsewhere."""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from paybell.environment.common import is_base_url, is_plain_http_elsewhere
from paybell.errors import Misconfigured
from paybell.pay.settings import PaySettings


@dataclass(frozen=True, kw_only=True)
class ChannelSettings(PaySettings):
    """Where money comes from besides balances of our own, and how channels reach us."""

    wallet_kind: Annotated[
        Literal["contract", "legacy"],
        Meta(
            description="What PAYBELL_WALLET_URL speaks: the contract of docs/remote-wallet.md, or the one "
            "endpoint `PUT /users/money/deduct`, which leaves every doubt to a person."
        ),
    ] = "contract"
    wallet_token: Annotated[
        str, Meta(description="Bearer token that the wallet knows us by; empty: none is sent.")
    ] = ""
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
        if self.wallet_refusal and self.wallet_kind != "legacy":
            raise Misconfigured("PAYBELL_WALLET_REFUSAL is for PAYBELL_WALLET_KIND=legacy only.")
