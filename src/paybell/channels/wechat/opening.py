"""WeChat Pay's channel out of its settings."""

from paybell.channels.crypto import AesKey, PrivateKey, PublicKey
from paybell.channels.http import ChannelHttp
from paybell.channels.keyring import Keyring
from paybell.channels.wechat.channel import WechatChannel
from paybell.channels.wechat.messages import Merchant
from paybell.channels.wechat.settings import WechatSettings
from paybell.clock import Clock
from paybell.errors import Misconfigured


def wechat_qr(settings: WechatSettings, http: ChannelHttp, clock: Clock) -> WechatChannel | None:
    """Return the channel of QR codes, None if WeChat Pay is not set up.

    Raises:
        Misconfigured: a key is of another form, has no serial or id, or its file cannot be read.
    """
    if not settings.wechat_mchid:
        return None
    own_keys = Keyring("PAYBELL_WECHAT_PRIVATE_KEYS", settings.wechat_private_keys, PrivateKey)
    wechat_keys = Keyring("PAYBELL_WECHAT_PUBLIC_KEYS", settings.wechat_public_keys, PublicKey)
    if not all(name for name, _ in own_keys.all):
        raise Misconfigured("PAYBELL_WECHAT_PRIVATE_KEYS: write each as SERIAL=file:PATH.")
    if not all(name or key.serial for name, key in wechat_keys.all):
        raise Misconfigured("PAYBELL_WECHAT_PUBLIC_KEYS: a public key needs its id, PUB_KEY_ID_…=file:PATH.")
    return WechatChannel(
        "wechat",
        Merchant(settings.wechat_mchid, settings.wechat_appid, settings.wechat_url),
        http,
        clock,
        own_keys=own_keys,
        wechat_keys=wechat_keys,
        aes_keys=Keyring("PAYBELL_WECHAT_API_V3_KEYS", settings.wechat_api_v3_keys, AesKey),
        schedule=settings.windows,
    )
