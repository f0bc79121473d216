"""A sandbox of all channels, and the settings with which Paybell uses it."""

from collections.abc import Mapping
from pathlib import Path

from paybell.channels.crypto import PrivateKey
from paybell.clock import Clock
from paybell.sandbox.alipay import AlipaySimulator
from paybell.sandbox.clock import SandboxClock
from paybell.sandbox.keys import KeyPair
from paybell.sandbox.server import Sandbox
from paybell.sandbox.stripe import StripeSimulator
from paybell.sandbox.wallet import WalletSimulator
from paybell.sandbox.wechat import WechatSimulator

APP_ID, SELLER_ID = "2021000000000001", "2088102100000001"
MCHID, APPID = "1900000001", "wx0000000000000001"
SERIAL = "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"
# The second is that of a rotation, with which the fault `other_key` signs.
PUBLIC_KEY_ID, NEXT_PUBLIC_KEY_ID = "PUB_KEY_ID_0119000000012026", "PUB_KEY_ID_0119000000012027"
ACCOUNT = "acct_sandbox"
# Of nothing but this simulator.
_API_V3_KEY, _API_KEY, _WEBHOOK_SECRET, _WALLET_TOKEN = (
    "sandboxsandboxsandboxsandboxsand",
    "sk_test_" + "s" * 24,
    "whsec_sandbox",
    "sandbox-wallet",
)


class Setup:
    """Simulators whose keys stay the same in a folder; their books begin empty with each start."""

    def __init__(self, folder: Path, clock: Clock, speed: float = 1.0) -> None:
        """Make the keys that are missing.

        Args:
            folder: of the keys; made for its owner only.
            clock: of the machine.
            speed: how much faster the simulators' clock runs.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        ours, theirs, next_ones = (
            KeyPair.kept(folder, name) for name in ("merchant", "channel", "channel-next")
        )
        sandbox_clock = SandboxClock(clock, speed)
        our_key = PrivateKey(ours.private).public
        their_key, next_key = PrivateKey(theirs.private), PrivateKey(next_ones.private)
        self._stripe = StripeSimulator(sandbox_clock, api_keys=[_API_KEY], webhook_secrets=[_WEBHOOK_SECRET])
        self.sandbox = Sandbox(
            sandbox_clock,
            [
                AlipaySimulator(
                    sandbox_clock,
                    app_id=APP_ID,
                    seller_id=SELLER_ID,
                    app_keys=[our_key],
                    keys=[their_key, next_key],
                ),
                WechatSimulator(
                    sandbox_clock,
                    mchid=MCHID,
                    appid=APPID,
                    merchant_keys=[our_key],
                    keys=[(PUBLIC_KEY_ID, their_key), (NEXT_PUBLIC_KEY_ID, next_key)],
                    api_v3_key=_API_V3_KEY,
                ),
                self._stripe,
                WalletSimulator(sandbox_clock, token=_WALLET_TOKEN),
            ],
        )

    def settings(self, url: str, notify_url: str) -> Mapping[str, str]:
        """Return the fields of Paybell's settings that lead to a sandbox.

        Args:
            url: where it serves.
            notify_url: where Paybell serves; also told to Stripe's simulator, as one would in its dashboard.
        """
        self._stripe.webhook_url = f"{notify_url}/channels/stripe/notices"
        private = f"file:{(self._folder / 'merchant.pem').resolve()}"
        public, after = (
            f"file:{(self._folder / f'{name}.public.pem').resolve()}" for name in ("channel", "channel-next")
        )
        return {
            "notify_url": notify_url,
            "alipay_app_id": APP_ID,
            "alipay_seller_id": SELLER_ID,
            "alipay_private_keys": private,
            "alipay_public_keys": f"{public},{after}",
            "alipay_url": f"{url}/gateway.do",
            "wechat_mchid": MCHID,
            "wechat_appid": APPID,
            "wechat_private_keys": f"{SERIAL}={private}",
            "wechat_public_keys": f"{PUBLIC_KEY_ID}={public},{NEXT_PUBLIC_KEY_ID}={after}",
            "wechat_api_v3_keys": _API_V3_KEY,
            "wechat_url": url,
            "stripe_account": ACCOUNT,
            "stripe_api_keys": _API_KEY,
            "stripe_webhook_secrets": _WEBHOOK_SECRET,
            "stripe_url": url,
        }

    def wallet_settings(self, url: str) -> Mapping[str, str]:
        """Return the fields with which balances are the remote wallet's, with nothing else."""
        return {"wallet_url": url, "wallet_token": _WALLET_TOKEN}
