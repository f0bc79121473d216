"""What vouches for a message: an HMAC under a key that publisher and listeners hold.

`docs/how-to/verify-signatures.md` has the same for other languages, with test vectors.
"""

import hmac
import os
from collections.abc import Mapping

import msgspec

from paybell.environment.keys import SECRET_BYTES_MIN, keys_of
from paybell.environment.reading import read_section
from paybell.errors import Misconfigured
from paybell.messaging.settings import MessagingSettings

_EVENT_KEYS = "PAYBELL_EVENT_KEYS"
# The id of the key derived from the token secret; its signatures name no key.
_DERIVED = ""


class PaidOrder(msgspec.Struct, frozen=True, rename="camel"):
    """What a signature vouches for: this merchant's order was paid, with this amount in minor units."""

    merchant_id: str
    biz_order_no: str
    amount: int
    currency: str


class EventKeys:
    """Signs bare order numbers and typed events, so that a listener can tell ours from forged ones.

    The newest key signs, all verify. A number alone would do for no one: two merchants may use the same,
    and a merchant may have made a pay order of less than its order comes to.
    """

    def __init__(self, ring: str = "", *, token_secret: str = "") -> None:
        """Take the keys; no secret signs by itself, two keys are derived from each.

        Args:
            ring: ``id:secret,id:secret``, newest first.
            token_secret: whoever holds it may sign, too; empty: nobody may with it.

        Raises:
            Misconfigured: an id twice, a secret of less than 32 bytes, another form, or no key at all.
        """
        secrets = {name: one.encode() for name, one in keys_of(_EVENT_KEYS, ring).items()} if ring else {}
        for name, one in secrets.items():
            if len(one) < SECRET_BYTES_MIN:
                raise Misconfigured(
                    f"{_EVENT_KEYS}, key {name}: at least {SECRET_BYTES_MIN} random bytes are needed."
                )
        if token_secret:
            secrets[_DERIVED] = token_secret.encode()
        if not secrets:
            raise Misconfigured(
                f"Set {_EVENT_KEYS} to the keys (id:secret) that the pay service signs events with; "
                "paybell serve on embedded databases keeps them in .paybell/event-keys."
            )
        self._number_keys = {name: _derive(one, b"paybell pay.success v1") for name, one in secrets.items()}
        self._event_keys = {name: _derive(one, b"paybell pay.events v1") for name, one in secrets.items()}
        newest = next(iter(secrets))
        self._newest = newest
        self._prefix = f"{newest}:" if newest else ""

    @classmethod
    def from_settings(cls, settings: MessagingSettings) -> "EventKeys":
        """Return the keys of these settings.

        Raises:
            Misconfigured: as above.
        """
        derived = settings.event_key_of_tokens == "accepted"
        return cls(settings.event_keys, token_secret=settings.jwt_secret if derived else "")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "EventKeys":
        """Return the keys of this process: ``PAYBELL_EVENT_KEYS``, and the derived one where it may be.

        Raises:
            Misconfigured: as above.
        """
        return cls.from_settings(read_section(MessagingSettings, environ))

    def sign(self, paid: PaidOrder) -> str:
        """Return the signature of a bare order number, for the header ``paybell-signature``."""
        return self._prefix + _mac(self._number_keys[self._newest], _covered(paid))

    def verifies(self, signature: str, paid: PaidOrder) -> bool:
        """Compare in constant time; a key that was taken away verifies nothing."""
        return _verifies(self._number_keys, signature, _covered(paid))

    def sign_event(self, body: bytes) -> str:
        """Return the signature of a typed event's whole body."""
        return self._prefix + _mac(self._event_keys[self._newest], body)

    def verifies_event(self, signature: str, body: bytes) -> bool:
        """Compare in constant time; a key that was taken away verifies nothing."""
        return _verifies(self._event_keys, signature, body)


def _covered(paid: PaidOrder) -> bytes:
    # The merchant is last: it alone may hold a colon.
    return f"{paid.biz_order_no}:{paid.amount}:{paid.currency}:{paid.merchant_id}".encode()


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return hmac.digest(secret, purpose, "sha256")


def _mac(key: bytes, covered: bytes) -> str:
    return hmac.digest(key, covered, "sha256").hex()


def _verifies(keys: Mapping[str, bytes], signature: str, covered: bytes) -> bool:
    key_id, _, mac = signature.rpartition(":")
    key = keys.get(key_id)
    given = mac.encode("utf-8", "replace")
    return key is not None and hmac.compare_digest(given, _mac(key, covered).encode())
