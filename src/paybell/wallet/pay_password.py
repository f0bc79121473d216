"""Pay passwords: six digits, kept as a MAC, guessed at most five times.

A slow hash protects nothing here: whoever has the stored strings tries all 10^6 passwords of
a wallet anyway. What protects is a key the database does not hold (a pepper) and the count
of wrong tries, which the paying transaction keeps. See `docs/decisions/pay-password.md`.
"""

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from paybell.environment.keys import keys_of
from paybell.errors import InvalidRequest, Refused
from paybell.wallet.errors import PayPasswordLocked, WrongPayPassword

TRIES_MAX = 5
# Long enough that all 10^6 passwords take 11 years, short enough for the owner to wait.
LOCK = timedelta(minutes=30)
_SALT_BYTES = 12
_FORM = re.compile(r"[0-9]{6}", re.ASCII)


def check_pay_password(password: str, field: str = "payPassword") -> str:
    """Return the password if it has six digits.

    Raises:
        InvalidRequest: it has not; the password is not repeated in the message.
    """
    if not _FORM.fullmatch(password):
        raise InvalidRequest("A pay password has exactly six digits.", field=field)
    return password


class Pepper:
    """The server-side keys of the MAC, newest first, each with the id stored beside its MACs."""

    def __init__(self, setting: str) -> None:
        """Read ``id:secret,id:secret``; a secret alone has the id 1.

        Raises:
            Misconfigured: empty, an id twice, or of another form.
        """
        keys = keys_of("PAYBELL_PIN_PEPPER", setting)
        self._keys: Mapping[str, bytes] = {key_id: key.encode() for key_id, key in keys.items()}
        self._newest = next(iter(self._keys))

    def protect(self, password: str) -> str:
        """Return what is stored for a password: ``key id$salt$MAC``."""
        salt = secrets.token_hex(_SALT_BYTES)
        return f"{self._newest}${salt}${self._mac(self._newest, salt, password)}"

    def matches(self, stored: str, password: str) -> bool:
        """Compare in constant time; a key that was taken away matches nothing."""
        key_id, salt, mac = stored.split("$")
        return key_id in self._keys and hmac.compare_digest(mac, self._mac(key_id, salt, password))

    def is_newest(self, stored: str) -> bool:
        """Say whether a password is protected by the newest key."""
        return stored.partition("$")[0] == self._newest

    def _mac(self, key_id: str, salt: str, password: str) -> str:
        return hmac.digest(self._keys[key_id], f"{salt}:{password}".encode(), "sha256").hex()


@dataclass(frozen=True, slots=True)
class PayPassword:
    """A wallet's stored password and the state of its tries."""

    stored: str
    failed_tries: int
    locked_until: datetime | None

    def attempt(self, password: str, pepper: Pepper, now: datetime) -> tuple["PayPassword", Refused | None]:
        """Try a password: return the state after it, and the refusal if it may not pass.

        The right one is stored anew where it was protected by an older key, so that this key can be removed.
        """
        if self.locked_until is not None and now < self.locked_until:
            return self, PayPasswordLocked(lockedUntil=self.locked_until)
        before = self if self.locked_until is None else replace(self, failed_tries=0, locked_until=None)
        if pepper.matches(self.stored, password):
            return before.passed(password, pepper), None
        failed = before.failed_tries + 1
        if failed < TRIES_MAX:
            return replace(before, failed_tries=failed), WrongPayPassword(triesLeft=TRIES_MAX - failed)
        locked = replace(before, failed_tries=failed, locked_until=now + LOCK)
        return locked, WrongPayPassword(triesLeft=0, lockedUntil=locked.locked_until)

    def passed(self, password: str, pepper: Pepper) -> "PayPassword":
        """Return the state after the right password: no tries, under the newest key."""
        if pepper.is_newest(self.stored):
            return replace(self, failed_tries=0) if self.failed_tries else self
        return PayPassword(pepper.protect(password), 0, None)
