"""WeChat Pay's channel out of its settings."""

from paybell.channels.crypto import AesKey, PrivateKey, PublicKey
from paybell.channels.http import ChannelHttp
from paybell.channels.keyring import Keyring
from paybell.channels.wechat.api import WechatApi
from paybell.channels.wechat.channel import WechatChannel
from paybell.channels.wechat.messages import Merchant
from paybell.channels.wechat.settings import WechatSettings
from paybell.clock import Clock
from paybell.errors import Misconfigured


def wechat_api(settings: WechatSettings, http: ChannelHttp, clock: Clock) -> WechatApi:
    """Return the merchant at the API.

    Raises:
        Misconfigured: a key is of another form, has no serial or id, or its file cannot be read; or it is not
            set up.
    """
    if not settings.wechat_mchid:
        raise Misconfigured("Set PAYBELL_WECHAT_MCHID and its keys.")
    own_keys = Keyring(
        "PAYBELL_WECHAT_PRIVATE_KEYS", settings.wechat_private_keys, PrivateKey, names_in_files=True
    )
    wechat_keys = Keyring(
        "PAYBELL_WECHAT_PUBLIC_KEYS", settings.wechat_public_keys, PublicKey, names_in_files=True
    )
    if not all(name for name, _ in own_keys.all):
        raise Misconfigured("PAYBELL_WECHAT_PRIVATE_KEYS: write each as SERIAL=file:PATH.")
    if not all(name or key.serial for name, key in wechat_keys.all):
        raise Misconfigured("PAYBELL_WECHAT_PUBLIC_KEYS: a public key needs its id, PUB_KEY_ID_…=file:PATH.")
    merchant = Merchant(settings.wechat_mchid, settings.wechat_appid, settings.wechat_url)
    return WechatApi(merchant, http, clock, own_keys=own_keys, wechat_keys=wechat_keys)


def wechat_qr(settings: WechatSettings, http: ChannelHttp, clock: Clock) -> WechatChannel | None:
    """Return the channel of QR codes, None if WeChat Pay is not set up.

    Raises:
        Misconfigured: as `wechat_api`.
    """
    if not settings.wechat_mchid:
        return None
    return WechatChannel(
        "wechat",
        wechat_api(settings, http, clock),
        aes_keys=Keyring("PAYBELL_WECHAT_API_V3_KEYS", settings.wechat_api_v3_keys, AesKey),
        schedule=settings.windows,
    )
