"""Where channels are called: encrypted, or on this machine."""

from urllib.parse import urlsplit

from paybell.environment.common import is_loopback
from paybell.errors import Misconfigured


def check_url(variable: str, url: str) -> None:
    """Check that what is sent there cannot be read on the way.

    Raises:
        Misconfigured: it is no https URL, and no http URL of this machine.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        host = ""
    safe = bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))
    if not safe or parts.query or parts.fragment:
        raise Misconfigured(f"{variable} must be https://HOST; http:// only on this machine.")
