"""The settings of the order service."""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from paybell.environment.common import is_base_url, is_plain_http_elsewhere
from paybell.errors import Misconfigured
from paybell.messaging.settings import MessagingSettings


@dataclass(frozen=True, kw_only=True)
class TradeSettings(MessagingSettings):
    """Where the order service finds the pay service, with the listeners it has."""

    pay_url: Annotated[
        str, Meta(description="Where the order service finds the pay service; empty: this process.")
    ] = ""
    pay_url_plain_http: Annotated[
        Literal["refuse", "allow"],
        Meta(description="Whether PAYBELL_PAY_URL may send tokens unencrypted (http) to another machine."),
    ] = "refuse"

    def check(self) -> None:
        """Check that tokens may be sent to the pay service's URL.

        Raises:
            Misconfigured: it is no URL of a service, or unencrypted to another machine.
        """
        super().check()
        if self.pay_url and not is_base_url(self.pay_url):
            raise Misconfigured(
                "PAYBELL_PAY_URL must be http://HOST:PORT or https://HOST, with nothing after a ?."
            )
        if self.pay_url_plain_http == "refuse" and is_plain_http_elsewhere(self.pay_url):
            raise Misconfigured(
                "PAYBELL_PAY_URL is http:// to another machine, which sends tokens unencrypted: use "
                "https://, or set PAYBELL_PAY_URL_PLAIN_HTTP=allow where the network itself is encrypted."
            )
