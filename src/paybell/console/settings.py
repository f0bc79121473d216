"""The settings of the pages that buyers see."""

import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from msgspec import Meta

from paybell.environment.common import CommonSettings, is_loopback
from paybell.errors import Misconfigured

# As a browser writes an origin: lower case, international names in Punycode.
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|[0-9a-f:]+")
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, kw_only=True)
class CashierSettings(CommonSettings):
    """Whose cashier it is, and where its buyers may go back to."""

    shop_name: Annotated[
        str, Meta(max_length=64, description="The shop's name on the cashier page; empty: Paybell.")
    ] = ""
    return_origins: Annotated[
        str,
        Meta(
            description="Origins, separated by commas, that the cashier's `returnUrl` may lead to, such as "
            "https://shop.example; exactly these, and https off loopback. Empty: the page has no way back."
        ),
    ] = ""

    def check(self) -> None:
        """Check that each origin is one.

        Raises:
            Misconfigured: one has a path, a wildcard, a user, or http to another machine.
        """
        super().check()
        _ = self.allowed_origins

    @property
    def allowed_origins(self) -> list[str]:
        """The origins as browsers write them."""
        given = [text.strip() for text in self.return_origins.split(",")]
        return [_origin(text) for text in given if text]


def _origin(text: str) -> str:
    try:
        parts = urlsplit(text.lower())
        if _is_origin(parts):
            port = "" if parts.port in (None, _PORTS[parts.scheme]) else f":{parts.port}"
            host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
            return f"{parts.scheme}://{host}{port}"
    except ValueError:  # a port that is none
        pass
    raise Misconfigured(
        f"PAYBELL_RETURN_ORIGINS: {text[:80]!r} is no origin such as https://shop.example (no path, no *; "
        "http on loopback only)."
    )


def _is_origin(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    return (
        parts.scheme in _PORTS
        and bool(_HOST.fullmatch(host))
        and not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
        and (parts.scheme == "https" or is_loopback(host))
    )
