"""Alipay's channels out of its settings."""

from paybell.channels.alipay.certificates import Certificates
from paybell.channels.alipay.channel import AlipayChannel
from paybell.channels.alipay.gateway import AlipayGateway
from paybell.channels.alipay.messages import Merchant
from paybell.channels.alipay.settings import AlipaySettings
from paybell.channels.crypto import AppCertificate, PrivateKey, PublicKey, RootCertificates
from paybell.channels.http import ChannelHttp
from paybell.channels.keyring import Keyring
from paybell.clock import Clock
from paybell.errors import Misconfigured

QR, PAGE = "alipay", "alipay_page"


def alipay_qr(settings: AlipaySettings, http: ChannelHttp, clock: Clock) -> AlipayChannel | None:
    """Return the channel of QR codes, None if Alipay is not set up.

    Raises:
        Misconfigured: a key is of another form, or its file cannot be read.
    """
    return _channel(QR, settings, http, clock)


def alipay_page(settings: AlipaySettings, http: ChannelHttp, clock: Clock) -> AlipayChannel | None:
    """Return the channel of Alipay's page; as `alipay_qr`."""
    return _channel(PAGE, settings, http, clock)


def alipay_gateway(settings: AlipaySettings, http: ChannelHttp, clock: Clock) -> AlipayGateway:
    """Return the application at the gateway.

    Raises:
        Misconfigured: as `alipay_qr`, Alipay is not set up, or no certificate is of the key that signs.
    """
    if not settings.alipay_app_id:
        raise Misconfigured("Set PAYBELL_ALIPAY_APP_ID and its keys.")
    app_keys = Keyring("PAYBELL_ALIPAY_PRIVATE_KEYS", settings.alipay_private_keys, PrivateKey)
    certificates = Certificates(
        Keyring("PAYBELL_ALIPAY_APP_CERTIFICATES", settings.alipay_app_certificates, AppCertificate),
        Keyring("PAYBELL_ALIPAY_ROOT_CERTIFICATES", settings.alipay_root_certificates, RootCertificates),
    )
    alipay_keys = Keyring("PAYBELL_ALIPAY_PUBLIC_KEYS", settings.alipay_public_keys, PublicKey)
    if certificates.fields(app_keys.newest) and not all(key.serial for _, key in alipay_keys.all):
        raise Misconfigured("In certificate mode PAYBELL_ALIPAY_PUBLIC_KEYS holds Alipay's certificates.")
    return AlipayGateway(
        Merchant(settings.alipay_app_id, settings.alipay_seller_id, settings.alipay_url),
        http,
        clock,
        app_keys=app_keys,
        alipay_keys=alipay_keys,
        certificates=certificates,
    )


def _channel(name: str, settings: AlipaySettings, http: ChannelHttp, clock: Clock) -> AlipayChannel | None:
    if not settings.alipay_app_id:
        return None
    gateway = alipay_gateway(settings, http, clock)
    return AlipayChannel(name, gateway, schedule=settings.windows, page=name == PAGE)
