"""The settings of WeChat Pay."""

from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from paybell.channels.pace import PaceSettings
from paybell.channels.urls import check_url
from paybell.errors import Misconfigured


@dataclass(frozen=True, kw_only=True)
class WechatSettings(PaceSettings):
    """Who we are at WeChat Pay, and the keys of both sides."""

    wechat_mchid: Annotated[
        str, Meta(description="The merchant's number at WeChat Pay; empty: wechat is not offered.")
    ] = ""
    wechat_appid: Annotated[str, Meta(description="Account (wx…) that payments belong to.")] = ""
    wechat_private_keys: Annotated[
        str,
        Meta(
            description="The merchant's private keys, newest first, separated by commas, each as "
            "`SERIAL=file:PATH` or `SERIAL=PEM` with the serial of its certificate, or as a file that says "
            "`SERIAL=PEM` itself. The newest signs."
        ),
    ] = field(default="", repr=False)
    wechat_public_keys: Annotated[
        str,
        Meta(
            description="WeChat Pay's keys: `PUB_KEY_ID_…=file:PATH`, files that say `PUB_KEY_ID_…=PEM` "
            "themselves, or certificates as `file:PATH`. Each verifies; no other is looked for."
        ),
    ] = ""
    wechat_api_v3_keys: Annotated[
        str,
        Meta(description="APIv3 keys of 32 characters, or `file:PATH`; each decrypts notices."),
    ] = field(default="", repr=False)
    wechat_url: Annotated[str, Meta(description="WeChat Pay's API, without a path.")] = (
        "https://api.mch.weixin.qq.com"
    )

    def check(self) -> None:
        """Check that WeChat Pay has all it needs, or nothing.

        Raises:
            Misconfigured: something is missing, or calls would go unencrypted to another machine.
        """
        super().check()
        check_url("PAYBELL_WECHAT_URL", self.wechat_url)
        needed = (
            self.wechat_appid,
            self.wechat_private_keys,
            self.wechat_public_keys,
            self.wechat_api_v3_keys,
        )
        if self.wechat_mchid and not all(needed):
            raise Misconfigured(
                "PAYBELL_WECHAT_MCHID needs PAYBELL_WECHAT_APPID, PAYBELL_WECHAT_PRIVATE_KEYS, "
                "PAYBELL_WECHAT_PUBLIC_KEYS and PAYBELL_WECHAT_API_V3_KEYS."
            )
