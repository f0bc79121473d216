"""Settings that hold several keys, each with an id that stands beside what was made with it."""

import re
from collections.abc import Mapping

from paybell.errors import Misconfigured

# RFC 7518 section 3.2: a key for HS256 has at least 256 bits.
SECRET_BYTES_MIN = 32
_KEY = re.compile(r"(?:([A-Za-z0-9]{1,32}):)?([^:]+)")


def keys_of(variable: str, text: str) -> Mapping[str, str]:
    """Read ``id:secret,id:secret``; a secret alone has the id 1. The order is kept.

    Raises:
        Misconfigured: empty, an id twice, or of another form.
    """
    pairs = [_KEY.fullmatch(part) for part in text.split(",") if part]
    keys = {pair[1] or "1": pair[2] for pair in pairs if pair}
    if not pairs or len(keys) != len(pairs):
        raise Misconfigured(
            f"{variable} must be secret, or id:secret,id:secret with different ids "
            "of 1 to 32 letters or digits."
        )
    return keys
