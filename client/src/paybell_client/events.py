"""Messages from RabbitMQ: whether they are Paybell's, and what they say.

The recipe is Paybell's `docs/how-to/verify-signatures.md`. Remember the ids of events you have applied, and
verify before you write one down: a message may come twice, and anybody who may publish can forge one.
"""

import hmac
import re
from datetime import datetime

import msgspec

from paybell_client.errors import NotSigned, Unreadable

SIGNATURE_HEADER = "paybell-signature"
_EVENTS, _NUMBERS = b"paybell pay.events v1", b"paybell pay.success v1"
_KEY = re.compile(r"(?:([A-Za-z0-9]{1,32}):)?([^:]+)")
_SECRET_BYTES_MIN = 32


class PayOrderData(msgspec.Struct, frozen=True, rename="camel"):
    """A pay order as events carry it; the amounts in minor units."""

    pay_order_id: str
    biz_order_no: str
    merchant_id: str
    payer_id: str
    amount: int
    currency: str
    subject: str
    status: str
    version: int
    created_at: datetime
    expires_at: datetime
    succeeded_at: datetime | None = None
    closed_at: datetime | None = None
    refunded_amount: int = 0
    channel: str | None = None


class PayOrderEvent(msgspec.Struct, frozen=True):
    """A CloudEvents 1.0 event of ``pay.events``: ``pay.success``, ``pay.closed`` or ``pay.refunded``.

    The same fact has the same ``id`` however often it comes. ``data`` is the whole state: pass over a
    version that is lower than the last one you have applied.
    """

    id: str
    type: str
    time: datetime
    data: PayOrderData
    traceparent: str = ""


class EventKeys:
    """The keys that Paybell signs messages with (``PAYBELL_EVENT_KEYS``); a listener needs nothing else."""

    def __init__(self, ring: str) -> None:
        """Take ``id:secret,id:secret``; what any of them has signed verifies.

        Raises:
            ValueError: another form, an id twice, or a secret of less than 32 bytes.
        """
        pairs = [_KEY.fullmatch(part) for part in ring.split(",") if part]
        secrets = {pair[1] or "1": pair[2].encode() for pair in pairs if pair}
        if not pairs or len(secrets) != len(pairs):
            raise ValueError("Event keys are id:secret,id:secret with different ids of letters and digits.")
        if any(len(secret) < _SECRET_BYTES_MIN for secret in secrets.values()):
            raise ValueError(f"The secret of an event key has at least {_SECRET_BYTES_MIN} bytes.")
        self._keys = {
            (name, purpose): hmac.digest(secret, purpose, "sha256")
            for name, secret in secrets.items()
            for purpose in (_EVENTS, _NUMBERS)
        }

    def verifies_event(self, signature: object, body: bytes) -> bool:
        """Say whether the header ``paybell-signature`` is that of this body, byte for byte as it came."""
        return self._verifies(_EVENTS, signature, body)

    def verifies_number(
        self, signature: object, *, biz_order_no: str | int, amount: int, currency: str, merchant_id: str
    ) -> bool:
        """Say the same of a bare order number from ``pay.direct``.

        Amount (minor units), currency and merchant are those of your own order: they are not in the
        message, and a payment of less than your order comes to does not verify.
        """
        covered = f"{biz_order_no}:{amount}:{currency}:{merchant_id}"
        return self._verifies(_NUMBERS, signature, covered.encode())

    def read_event(self, signature: object, body: bytes) -> PayOrderEvent:
        """Return a typed event that is Paybell's own.

        Raises:
            NotSigned: it is not. Unreadable: it is not of the documented form.
        """
        if not self.verifies_event(signature, body):
            raise NotSigned("No key of PAYBELL_EVENT_KEYS has signed this event.")
        try:
            return msgspec.json.decode(body, type=PayOrderEvent)
        except msgspec.MsgspecError as error:
            raise Unreadable(f"This is no event of a pay order: {error}") from error

    def _verifies(self, purpose: bytes, signature: object, covered: bytes) -> bool:
        """Compare in constant time; some clients of RabbitMQ hand headers out as bytes."""
        text = signature.decode("ascii", "replace") if isinstance(signature, bytes) else signature
        if not isinstance(text, str):
            return False
        name, _, mac = text.rpartition(":")
        key = self._keys.get((name, purpose))
        if key is None:
            return False
        wanted = hmac.digest(key, covered, "sha256").hex()
        return hmac.compare_digest(mac.encode("utf-8", "replace"), wanted.encode())
