"""The settings of Alipay."""

from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from paybell.channels.pace import PaceSettings
from paybell.channels.urls import check_url
from paybell.errors import Misconfigured


@dataclass(frozen=True, kw_only=True)
class AlipaySettings(PaceSettings):
    """Who we are at Alipay, and the keys of both sides."""

    alipay_app_id: Annotated[
        str,
        Meta(
            description="Application at Alipay; empty: neither alipay (QR code) nor alipay_page is offered."
        ),
    ] = ""
    alipay_seller_id: Annotated[
        str, Meta(description="Account payments go to (2088…); empty: the application's, and not compared.")
    ] = ""
    alipay_private_keys: Annotated[
        str,
        Meta(
            description="The application's private keys, newest first, separated by commas; each as "
            "`file:PATH`, PEM or bare base64. The newest signs."
        ),
    ] = field(default="", repr=False)
    alipay_public_keys: Annotated[
        str,
        Meta(
            description="Alipay's public keys for this application (not the application's own), or in "
            "certificate mode its certificates, written in the same way; each verifies."
        ),
    ] = ""
    alipay_app_certificates: Annotated[
        str,
        Meta(
            description="Certificates of the application's private keys, as `file:PATH`; set in certificate "
            "mode only. The one of the key that signs is named to Alipay."
        ),
    ] = ""
    alipay_root_certificates: Annotated[
        str,
        Meta(description="Alipay's file of root certificates, as `file:PATH`; set in certificate mode only."),
    ] = ""
    alipay_url: Annotated[str, Meta(description="Alipay's gateway.")] = (
        "https://openapi.alipay.com/gateway.do"
    )

    def check(self) -> None:
        """Check that Alipay has all it needs, or nothing.

        Raises:
            Misconfigured: a key is missing, or calls would go unencrypted to another machine.
        """
        super().check()
        check_url("PAYBELL_ALIPAY_URL", self.alipay_url)
        if self.alipay_app_id and not (self.alipay_private_keys and self.alipay_public_keys):
            raise Misconfigured(
                "PAYBELL_ALIPAY_APP_ID needs PAYBELL_ALIPAY_PRIVATE_KEYS and PAYBELL_ALIPAY_PUBLIC_KEYS."
            )
        if bool(self.alipay_app_certificates) != bool(self.alipay_root_certificates):
            raise Misconfigured(
                "Certificate mode needs both PAYBELL_ALIPAY_APP_CERTIFICATES and "
                "PAYBELL_ALIPAY_ROOT_CERTIFICATES; key mode has neither."
            )
