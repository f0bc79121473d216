"""Stripe's webhook signatures: an HMAC of time and body under the endpoint's secret."""

import hmac
import re
from collections.abc import Sequence
from datetime import datetime

TOLERANCE_SECONDS = 300
_SIGNATURES_MAX = 8
_DIGITS = re.compile(r"[0-9]{1,12}", re.ASCII)


class Secret:
    """The secret of a webhook endpoint, whole, with its ``whsec_``."""

    def __init__(self, text: str) -> None:
        """Take it.

        Raises:
            ValueError: it does not begin with ``whsec_``.
        """
        if not text.startswith("whsec_"):
            raise ValueError("no webhook secret; it begins with whsec_")
        self._key = text.encode()

    def mac(self, timestamp: str, body: bytes) -> str:
        """Return the MAC as it stands behind ``v1=``."""
        return hmac.digest(self._key, timestamp.encode() + b"." + body, "sha256").hex()

    def __repr__(self) -> str:
        return "Secret()"


class ApiKey:
    """A secret or restricted key; it says itself whether it is of test or of live mode."""

    def __init__(self, text: str) -> None:
        """Take it.

        Raises:
            ValueError: of another form.
        """
        if not re.fullmatch(r"(?:sk|rk)_(?:test|live)_[A-Za-z0-9]{8,200}", text):
            raise ValueError("no API key; it begins with sk_test_, sk_live_, rk_test_ or rk_live_")
        self._text = text
        self.live = "_live_" in text[:8]

    @property
    def bearer(self) -> str:
        """The value of Authorization."""
        return f"Bearer {self._text}"

    def __repr__(self) -> str:
        return f"ApiKey({'live' if self.live else 'test'})"


def fault_of(header: str, body: bytes, secrets: Sequence[Secret], now: datetime) -> str:
    """Return why a webhook is not to be believed; empty if it is.

    Args:
        header: ``t=…,v1=…[,v1=…]``; while a secret is rotated each has its ``v1``.
        body: as it came.
        secrets: all that are valid.
        now: at most five minutes off, before or after.
    """
    pairs = [part.strip().partition("=") for part in header.split(",", _SIGNATURES_MAX)]
    times = [value for name, _, value in pairs if name == "t"]
    macs = [value for name, _, value in pairs if name == "v1"]
    if len(times) != 1 or not macs:
        return "not_signed"
    if not _DIGITS.fullmatch(times[0]) or abs(int(times[0]) - now.timestamp()) > TOLERANCE_SECONDS:
        return "wrong_time"
    wanted = [secret.mac(times[0], body).encode() for secret in secrets]
    given = [mac.encode("utf-8", "replace") for mac in macs]
    # Each is compared, so that the time says nothing of which was right.
    matches = [hmac.compare_digest(one, other) for one in wanted for other in given]
    return "" if any(matches) else "bad_signature"
