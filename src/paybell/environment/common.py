"""The settings every process has, whatever its roles; an owner's own are a subclass in its `settings.py`."""

from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from paybell.errors import Misconfigured

Text = Annotated[str, Meta(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class CommonSettings:
    """Addresses, databases, broker, tokens and logs.

    A subclass adds what one owner needs; its bases are whose settings it reads as well.
    """

    home: Annotated[
        Path,
        Meta(
            description="Folder of the embedded database and development secrets. As root, in a folder that "
            "others cannot enter, the database is in `/var/lib/paybell`."
        ),
    ] = Path(".paybell")
    host: Annotated[Text, Meta(description="Address the HTTP server listens on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port of the HTTP server; 0 takes a free one.")] = (
        8000
    )
    metrics_port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="Port of its own for /metrics, without a token; 0: none. At PAYBELL_PORT "
            "it needs the scope metrics:read where others can connect.",
        ),
    ] = 0
    database_url: Annotated[
        str, Meta(description="PostgreSQL of wallets and pay orders; empty: the embedded server.")
    ] = ""
    trade_database_url: Annotated[
        str, Meta(description="PostgreSQL of the order service; empty: the embedded server.")
    ] = ""
    database_connections: Annotated[
        int,
        Meta(
            ge=2,
            le=200,
            description="Most connections of one process to each database; one more is for /metrics.",
        ),
    ] = 8
    http_connections: Annotated[
        int,
        Meta(
            ge=16,
            le=1_000_000,
            description="Most clients connected to one process; fewer where fewer files may be open.",
        ),
    ] = 10_000
    broker_url: Annotated[
        Text,
        Meta(description="local: (in process), or amqp:// / amqps:// URLs, several separated by commas."),
    ] = "local:"
    jwt_secret: Annotated[
        str,
        Meta(
            description="Key of the bearer tokens (HS256). With a database or broker URL, or off loopback, "
            "at least 32 bytes, and tokens must expire."
        ),
    ] = ""
    merchant_id: Annotated[
        Text, Meta(max_length=64, description="Merchant of tokens that carry no merchant claim.")
    ] = "1"
    log_format: Annotated[Literal["console", "json"], Meta(description="How log lines look.")] = "console"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least level that is logged.")
    ] = "info"

    @property
    def loopback(self) -> bool:
        """Say whether only this machine can reach the HTTP server."""
        return is_loopback(self.host)

    @property
    def embedded(self) -> bool:
        """Say whether the embedded PostgreSQL serves at least one of the two databases."""
        return not (self.database_url and self.trade_database_url)

    @property
    def needs_real_secrets(self) -> bool:
        """Say whether other machines are involved: they can connect, or hold the databases or the broker."""
        local = self.broker_url.startswith("local:")
        return not (self.loopback and local) or bool(self.database_url or self.trade_database_url)

    def check(self) -> None:
        """Check the rules between values; an owner's own follow those of its bases.

        Raises:
            Misconfigured: one of them is broken.
        """
        for name, url in (
            ("PAYBELL_DATABASE_URL", self.database_url),
            ("PAYBELL_TRADE_DATABASE_URL", self.trade_database_url),
        ):
            if url and not url.startswith(("postgresql://", "postgres://")):
                raise Misconfigured(
                    f"{name} is no URL of PostgreSQL, such as postgresql://USER:PASSWORD@HOST:5432/NAME."
                )


def is_loopback(host: str) -> bool:
    """Say whether a name or address is this machine's own, whatever a name service says."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host.lower() == "localhost"


def is_base_url(url: str) -> bool:
    """Say whether this is a URL that paths can be added to."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)


def is_plain_http_elsewhere(url: str) -> bool:
    """Say whether what is sent to this URL leaves the machine unencrypted."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")
