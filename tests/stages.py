"""A channel and its simulator together, one class for each: what the contract suite of channels plays on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import ClassVar

from aiohttp import web
from rsa_keys import key_pair, private_key

from paybell.channels.alipay.certificates import Certificates
from paybell.channels.alipay.channel import AlipayChannel
from paybell.channels.alipay.gateway import AlipayGateway
from paybell.channels.alipay.messages import Merchant as AlipayMerchant
from paybell.channels.channel import Channel, Charge, Notice, Return
from paybell.channels.crypto import AesKey, AppCertificate, PrivateKey, PublicKey, RootCertificates
from paybell.channels.decision import WINDOW_SCHEDULE
from paybell.channels.http import ChannelHttp
from paybell.channels.keyring import Keyring
from paybell.channels.stripe.channel import StripeChannel
from paybell.channels.stripe.signing import ApiKey, Secret
from paybell.channels.wechat.api import WechatApi
from paybell.channels.wechat.channel import WechatChannel
from paybell.channels.wechat.messages import Merchant as WechatMerchant
from paybell.clock import Clock, SystemClock
from paybell.sandbox.alipay import AlipaySimulator
from paybell.sandbox.alipay_format import CertificateNames
from paybell.sandbox.books import Trade
from paybell.sandbox.clock import SandboxClock
from paybell.sandbox.faults import Fault, Operation
from paybell.sandbox.server import Sandbox
from paybell.sandbox.simulator import Simulator
from paybell.sandbox.stripe import StripeSimulator
from paybell.sandbox.wechat import WechatSimulator

CLOCK = SystemClock()
APP_ID, SELLER_ID = "2021000000000001", "2088102100000001"
MCHID, APPID, PUBLIC_KEY_ID = "1900000001", "wx0000000000000001", "PUB_KEY_ID_0119000000012026"
SERIAL = "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"
API_V3_KEY = "v3key" * 6 + "00"
API_KEY, WEBHOOK_SECRETS = "sk_test_" + "a" * 24, ["whsec_new", "whsec_old"]
# Each of ours and theirs, by the number of its pair.
OUR_KEY, THEIR_KEY, THEIR_OLD_KEY, STRANGERS_KEY, ROOT_KEY = 0, 1, 2, 3, 4
_ISSUER = "Certification Authority Class 1"

_numbers = count(700_000_000_000_000_001)


class Stage:
    """One channel over its simulator, and a place that takes its notices."""

    name: ClassVar[str]
    # Whether the channel signs what it answers; Stripe relies on TLS alone.
    signs_answers: ClassVar[bool] = True
    # Whether a window that nobody has opened yet is known to a query.
    known_at_once: ClassVar[bool] = True

    simulator: Simulator
    channel: Channel
    url: str
    notify_url: str
    http: ChannelHttp

    def __init__(self, clock: Clock = CLOCK) -> None:
        self.clock = clock
        self.notices: list[Notice] = []
        self.refuses = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Stage"]:
        """Serve both and plug the channel in."""
        clock = SandboxClock(self.clock)
        self.simulator = self.make_simulator(clock)
        async with (
            Sandbox(clock, [self.simulator]).serving() as self.url,
            self._listening() as self.notify_url,
            ChannelHttp.open() as self.http,
        ):
            self.channel = self.make_channel(self.url, OUR_KEY)
            yield self

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[str]:
        async def take(request: web.Request) -> web.Response:
            headers = {name.lower(): value for name, value in request.headers.items()}
            self.notices.append(Notice(headers, await request.read(), self.clock.now()))
            self.refuses -= 1
            answer = self.channel.answer_notice(taken=self.refuses < 0)
            return web.Response(status=answer.status, body=answer.body, content_type=answer.content_type)

        app = web.Application()
        app.router.add_post("/{path:.*}", take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/notices"
        finally:
            await runner.cleanup()

    def make_simulator(self, clock: SandboxClock) -> Simulator:
        """Return the other side."""
        raise NotImplementedError

    def make_channel(self, url: str, our_key: int) -> Channel:
        """Return our side, signing with this key."""
        raise NotImplementedError

    def settings(self, folder: Path) -> dict[str, str]:
        """Return the variables that lead a process to the other side, with keys in files of a folder."""
        raise NotImplementedError

    def charge(self, amount: int = 1177) -> Charge:
        """Return an attempt that was never made before."""
        return Charge(
            attempt_id=str(next(_numbers)),
            pay_order_id="5001",
            payer_id="42",
            amount=amount,
            currency="CNY",
            subject="a } + & = 茶 \\/",
            made_at=self.clock.now(),
            expires_at=self.clock.now() + timedelta(hours=2),
            notify_url=self.notify_url,
            return_url="http://127.0.0.1:1/back",
        )

    def trade(self, charge: Charge) -> Trade:
        """Return what the other side knows of it."""
        trade = self.simulator.books.find(charge.attempt_id)
        assert trade is not None
        return trade

    def scan(self, charge: Charge) -> None:
        """Let the buyer look at it."""
        self.trade(charge).known = True

    def pay(self, charge: Charge) -> None:
        """Let the buyer pay."""
        self.simulator.pay(self.trade(charge))

    def back(self, charge: Charge, amount: int) -> Return:
        """Return a refund that was never asked for before."""
        return Return(str(next(_numbers)), charge, self.trade(charge).transaction_id, amount, "a + b")

    def fault(self, operation: Operation, fault: Fault, times: int = 1, *, code: str = "") -> None:
        """Let the next such call or notice go wrong."""
        self.simulator.faults.order(operation, fault, times, code=code)

    async def heard(self) -> list[Notice]:
        """Return the notices that came, once the other side sends no more."""
        await self.simulator.idle()
        return self.notices

    def books(self, charge: Charge) -> tuple[int, int]:
        """Return what was really paid and what really went back, in minor units."""
        moved = self.simulator.books.moved()[charge.attempt_id]
        return int(moved["paid"]), int(moved["refunded"])


class AlipayStage(Stage):
    """QR codes of Alipay."""

    name = "alipay"
    known_at_once = False

    def make_simulator(self, clock: SandboxClock) -> Simulator:
        """Return the gateway."""
        return AlipaySimulator(
            clock,
            app_id=APP_ID,
            seller_id=SELLER_ID,
            app_keys=[private_key(OUR_KEY).public],
            keys=[private_key(THEIR_KEY), private_key(THEIR_OLD_KEY)],
        )

    def make_channel(self, url: str, our_key: int, *, page: bool = False) -> Channel:
        """Return the channel of QR codes, or of the page."""
        both = f"{key_pair(THEIR_KEY).public},{key_pair(THEIR_OLD_KEY).public}"
        return AlipayChannel(
            self.name,
            AlipayGateway(
                AlipayMerchant(APP_ID, SELLER_ID, f"{url}/gateway.do"),
                self.http,
                self.clock,
                app_keys=Keyring("PAYBELL_ALIPAY_APP_KEYS", key_pair(our_key).private, PrivateKey),
                alipay_keys=Keyring("PAYBELL_ALIPAY_KEYS", both, PublicKey),
            ),
            schedule=WINDOW_SCHEDULE,
            page=page,
        )

    def settings(self, folder: Path) -> dict[str, str]:
        """Return them."""
        ours, theirs = key_files(folder)
        return {
            "PAYBELL_ALIPAY_APP_ID": APP_ID,
            "PAYBELL_ALIPAY_PRIVATE_KEYS": ours,
            "PAYBELL_ALIPAY_PUBLIC_KEYS": theirs,
            "PAYBELL_ALIPAY_URL": f"{self.url}/gateway.do",
            "PAYBELL_NOTIFY_URL": "http://127.0.0.1:1",
        }


class AlipayCertificateStage(AlipayStage):
    """The same in certificate mode: each call names the certificates of both sides."""

    def make_simulator(self, clock: SandboxClock) -> Simulator:
        """Return the gateway, which knows one certificate of ours."""
        now = self.clock.now()
        self.ours = {
            number: key_pair(number).certificate(_ISSUER, now) for number in (OUR_KEY, STRANGERS_KEY)
        }
        self.theirs = [key_pair(number).certificate(_ISSUER, now) for number in (THEIR_KEY, THEIR_OLD_KEY)]
        self.roots = key_pair(ROOT_KEY).certificate("Root", now)
        return AlipaySimulator(
            clock,
            app_id=APP_ID,
            seller_id=SELLER_ID,
            app_keys=[private_key(OUR_KEY).public],
            keys=[private_key(THEIR_KEY), private_key(THEIR_OLD_KEY)],
            names=CertificateNames(
                AppCertificate(self.ours[OUR_KEY]).name,
                RootCertificates(self.roots).name,
                AppCertificate(self.theirs[0]).name,
            ),
        )

    def make_channel(self, url: str, our_key: int, *, page: bool = False) -> Channel:
        """Return the channel of QR codes, or of the page."""
        gateway = AlipayGateway(
            AlipayMerchant(APP_ID, SELLER_ID, f"{url}/gateway.do"),
            self.http,
            self.clock,
            app_keys=Keyring("PAYBELL_ALIPAY_APP_KEYS", key_pair(our_key).private, PrivateKey),
            alipay_keys=Keyring("PAYBELL_ALIPAY_KEYS", ",".join(self.theirs), PublicKey),
            certificates=Certificates(
                Keyring("PAYBELL_ALIPAY_APP_CERTIFICATES", self.ours[our_key], AppCertificate),
                Keyring("PAYBELL_ALIPAY_ROOT_CERTIFICATES", self.roots, RootCertificates),
            ),
        )
        return AlipayChannel(self.name, gateway, schedule=WINDOW_SCHEDULE, page=page)


class WechatStage(Stage):
    """QR codes of WeChat Pay, with a public key and a certificate of theirs."""

    name = "wechat"

    def make_simulator(self, clock: SandboxClock) -> Simulator:
        """Return the API; it signs with the public key, and after a fault with the certificate's."""
        self.certificate = key_pair(THEIR_OLD_KEY).certificate("Tenpay.com Root", self.clock.now())
        return WechatSimulator(
            clock,
            mchid=MCHID,
            appid=APPID,
            merchant_keys=[private_key(OUR_KEY).public],
            keys=[
                (PUBLIC_KEY_ID, private_key(THEIR_KEY)),
                (PublicKey(self.certificate).serial, private_key(THEIR_OLD_KEY)),
            ],
            api_v3_key=API_V3_KEY,
        )

    def make_channel(self, url: str, our_key: int) -> Channel:
        """Return the channel, with both keys of theirs."""
        both = f"{PUBLIC_KEY_ID}={key_pair(THEIR_KEY).public},{self.certificate}"
        return WechatChannel(
            self.name,
            WechatApi(
                WechatMerchant(MCHID, APPID, url),
                self.http,
                self.clock,
                own_keys=Keyring(
                    "PAYBELL_WECHAT_OWN_KEYS", f"{SERIAL}={key_pair(our_key).private}", PrivateKey
                ),
                wechat_keys=Keyring("PAYBELL_WECHAT_KEYS", both, PublicKey),
            ),
            aes_keys=Keyring("PAYBELL_WECHAT_API_V3_KEYS", API_V3_KEY, AesKey),
            schedule=WINDOW_SCHEDULE,
        )

    def settings(self, folder: Path) -> dict[str, str]:
        """Return them."""
        ours, theirs = key_files(folder)
        return {
            "PAYBELL_WECHAT_MCHID": MCHID,
            "PAYBELL_WECHAT_APPID": APPID,
            "PAYBELL_WECHAT_PRIVATE_KEYS": f"{SERIAL}={ours}",
            "PAYBELL_WECHAT_PUBLIC_KEYS": f"{PUBLIC_KEY_ID}={theirs}",
            "PAYBELL_WECHAT_API_V3_KEYS": API_V3_KEY,
            "PAYBELL_WECHAT_URL": self.url,
            "PAYBELL_NOTIFY_URL": "http://127.0.0.1:1",
        }


class StripeStage(Stage):
    """Cards by Stripe's Checkout."""

    name = "stripe"
    signs_answers = False

    def make_simulator(self, clock: SandboxClock) -> Simulator:
        """Return the API; webhooks are signed with both secrets of a rotation."""
        return StripeSimulator(clock, api_keys=[API_KEY], webhook_secrets=WEBHOOK_SECRETS)

    def make_channel(self, url: str, our_key: int) -> Channel:
        """Return the channel; with a stranger's key Stripe does not know us."""
        assert isinstance(self.simulator, StripeSimulator)
        self.simulator.webhook_url = self.notify_url
        api_key = API_KEY if our_key == OUR_KEY else "sk_test_" + "b" * 24
        return StripeChannel(
            self.name,
            "acct_1",
            url,
            self.http,
            self.clock,
            api_keys=Keyring("PAYBELL_STRIPE_API_KEYS", api_key, ApiKey),
            secrets=Keyring("PAYBELL_STRIPE_WEBHOOK_SECRETS", WEBHOOK_SECRETS[0], Secret),
            schedule=WINDOW_SCHEDULE,
        )

    def settings(self, folder: Path) -> dict[str, str]:
        """Return them."""
        del folder
        return {
            "PAYBELL_STRIPE_ACCOUNT": "acct_1",
            "PAYBELL_STRIPE_API_KEYS": API_KEY,
            "PAYBELL_STRIPE_WEBHOOK_SECRETS": WEBHOOK_SECRETS[0],
            "PAYBELL_STRIPE_URL": self.url,
            "PAYBELL_NOTIFY_URL": "http://127.0.0.1:1",
        }


def key_files(folder: Path) -> tuple[str, str]:
    """Write our private key and their public one; return both as settings name them."""
    ours, theirs = folder / "ours.pem", folder / "theirs.pem"
    ours.write_text(key_pair(OUR_KEY).private)
    theirs.write_text(key_pair(THEIR_KEY).public)
    return f"file:{ours}", f"file:{theirs}"


STAGES: tuple[type[Stage], ...] = (AlipayStage, WechatStage, StripeStage)
# A channel that knows its callers in two ways plays twice.
EVERY_MODE = (*STAGES, AlipayCertificateStage)
