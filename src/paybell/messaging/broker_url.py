"""The URLs of RabbitMQ, as far as anybody may see them: never a user or a password, nor a piece of one."""

from urllib.parse import unquote, urlsplit

from paybell.environment.common import is_loopback
from paybell.errors import Misconfigured

_PORTS = {"amqp": 5672, "amqps": 5671}
_UNREADABLE = (
    "PAYBELL_BROKER_URL holds a URL that cannot be read, which is amqp://USER:PASSWORD@HOST:PORT/VHOST or "
    "amqps://…; in user, password and virtual host each of / ? # @ : % and comma is percent-encoded, as %2F."
)


def broker_places(urls: str) -> list[str]:
    """Return scheme, host, port and virtual host of each URL, which are separated by commas.

    Raises:
        Misconfigured: one cannot be read.
    """
    return [_place(url) for url in urls.split(",")]


def unencrypted_places(urls: str) -> list[str]:
    """Return those of `broker_places` on other machines that are sent the password unencrypted."""
    if urls.startswith("local:"):
        return []
    parts = [(place, urlsplit(place)) for place in broker_places(urls)]
    return [place for place, url in parts if url.scheme == "amqp" and not is_loopback(url.hostname or "")]


def _place(url: str) -> str:
    # A parser's own words may hold a piece of a password that was taken for a host or a port.
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise Misconfigured(_UNREADABLE) from None
    rest = url.removeprefix(f"{parts.scheme}://").removeprefix(parts.netloc)
    if parts.scheme not in _PORTS or not host or "@" in rest or parts.fragment or parts.netloc.count("@") > 1:
        raise Misconfigured(_UNREADABLE)
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}:{port or _PORTS[parts.scheme]}/{unquote(parts.path[1:])}"
