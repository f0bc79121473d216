"""The settings: environment variables ``PAYBELL_…``, read and checked once at start."""

import os
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from paybell.errors import Misconfigured
from paybell.settings.broker_url import broker_places

# api: wallets and pay orders. background: what follows a payment (relay, deadlines, folding, sealing,
# retention). trade: orders and their listeners. ops: console and comparison of both sides.
ROLES = frozenset({"api", "background", "trade", "ops"})

# What a short string of AMQP 0-9-1 (4.2.5.3) holds.
SHORT_STRING_BYTES = 255

Text = Annotated[str, Meta(min_length=1)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename=lambda name: f"PAYBELL_{name.upper()}"):
    """Every setting, its unit and its default. Generated into `docs/settings.md`."""

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
    queue_type: Annotated[
        Literal["classic", "quorum"],
        Meta(description="Type of trade's three queues, sent as x-queue-type when they are declared."),
    ] = "classic"
    broker_declare: Annotated[
        Literal["declare", "look"],
        Meta(
            description="look: exchanges and queues are only looked for and used as they are, whatever their "
            "arguments; for queues of others, and a broker user without the right to configure."
        ),
    ] = "declare"
    article_queue: Annotated[
        Literal["declare", "leave"],
        Meta(
            description="leave: relays do not declare trade.pay.success.queue; for shops that bind their own "
            "queue to pay.direct. The role trade needs it and declares it always."
        ),
    ] = "declare"
    legacy_content_type: Annotated[
        Text,
        Meta(description="Content type on pay.success; text/x-json is read right by both Spring converters."),
    ] = "text/x-json"
    jwt_secret: Annotated[
        str,
        Meta(
            description="Key of the bearer tokens (HS256). With a database or broker URL, or off loopback, "
            "at least 32 bytes, and tokens must expire."
        ),
    ] = ""
    pin_pepper: Annotated[
        str,
        Meta(
            description="Keys of the pay-password MAC as id:secret, newest first, separated by commas; "
            "a secret alone has the id 1. Each is as long as PAYBELL_JWT_SECRET."
        ),
    ] = ""
    seal_keys: Annotated[
        str,
        Meta(
            description="Keys of the seals over transfers, as id:secret of at least 32 bytes, newest first, "
            "separated by commas, for the background role and paybell verify; empty: seals are not keyed."
        ),
    ] = ""
    event_keys: Annotated[
        str,
        Meta(
            description="Keys that events are signed and verified with, as id:secret of at least 32 bytes, "
            "newest first, separated by commas; empty: a key derived from PAYBELL_JWT_SECRET."
        ),
    ] = ""
    event_key_of_tokens: Annotated[
        Literal["accepted", "refused"],
        Meta(
            description="Whether what the key derived from PAYBELL_JWT_SECRET has signed is believed, beside "
            "PAYBELL_EVENT_KEYS."
        ),
    ] = "accepted"
    merchant_id: Annotated[
        Text, Meta(max_length=64, description="Merchant of tokens that carry no merchant claim.")
    ] = "1"
    pay_url: Annotated[
        str, Meta(description="Where the order service finds the pay service; empty: this process.")
    ] = ""
    pay_url_plain_http: Annotated[
        Literal["refuse", "allow"],
        Meta(description="Whether PAYBELL_PAY_URL may send tokens unencrypted (http) to another machine."),
    ] = "refuse"
    order_ttl_seconds: Annotated[
        int, Meta(ge=1, le=2_592_000, description="Deadline of a pay order that names none, in seconds.")
    ] = 7200
    settle_batch_max: Annotated[int, Meta(ge=1, le=4096, description="Most payments in one transaction.")] = (
        256
    )
    relay_batch_max: Annotated[
        int, Meta(ge=1, le=4096, description="Most events claimed and published at once.")
    ] = 500
    relay_lease_seconds: Annotated[
        float,
        Meta(
            ge=1,
            le=3600,
            description="How long a relay may hold events; at least twice the publish deadline.",
        ),
    ] = 30.0
    publish_deadline_seconds: Annotated[
        float, Meta(gt=0, le=600, description="After this a missing confirm means unknown, in seconds.")
    ] = 10.0
    listener_batch_max: Annotated[
        int, Meta(ge=1, le=4096, description="Most deliveries applied in one transaction.")
    ] = 500
    reconcile_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="How often the ops role compares pay orders and orders; 0: never.",
        ),
    ] = 60.0
    reconcile_window_seconds: Annotated[
        int,
        Meta(ge=60, le=2_592_000, description="How far back each of these comparisons looks, in seconds."),
    ] = 3600
    inbox_days: Annotated[
        int,
        Meta(ge=1, le=3650, description="How long trade remembers events; not less than dead letters."),
    ] = 90
    dead_letter_days: Annotated[
        int, Meta(ge=1, le=3650, description="How long dead letters are kept after an operator gave them up.")
    ] = 60
    idempotency_days: Annotated[
        int, Meta(ge=1, le=3650, description="How long the answers of idempotency keys are kept.")
    ] = 30
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


def read_settings(environ: Mapping[str, str] = os.environ, **overrides: object) -> Settings:
    """Read the settings from the environment; ``overrides`` are field names and win.

    Raises:
        Misconfigured: a value is not of its documented form, or the rules between them are broken.
    """
    ignored = service_links(environ)
    names = Settings.__struct_encode_fields__
    given: dict[str, object] = {name: environ[name] for name in names if environ.get(name)}
    given = {name: value for name, value in given.items() if name not in ignored}
    given |= {f"PAYBELL_{field.upper()}": value for field, value in overrides.items() if value is not None}
    try:
        settings = msgspec.convert(given, Settings, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise Misconfigured(_readable(error)) from error
    if settings.relay_lease_seconds < 2 * settings.publish_deadline_seconds:
        raise Misconfigured(
            "PAYBELL_RELAY_LEASE_SECONDS must be at least twice PAYBELL_PUBLISH_DEADLINE_SECONDS."
        )
    if settings.inbox_days < settings.dead_letter_days:
        raise Misconfigured(
            "PAYBELL_INBOX_DAYS must be at least PAYBELL_DEAD_LETTER_DAYS: what a listener has forgotten "
            "a replay would apply twice."
        )
    if settings.inbox_days * 86_400 < settings.reconcile_window_seconds:
        raise Misconfigured(
            "PAYBELL_INBOX_DAYS must cover PAYBELL_RECONCILE_WINDOW_SECONDS: so long events may come again."
        )
    if len(settings.legacy_content_type.encode()) > SHORT_STRING_BYTES:
        raise Misconfigured(
            f"PAYBELL_LEGACY_CONTENT_TYPE must have at most {SHORT_STRING_BYTES} bytes, as AMQP allows."
        )
    if not settings.broker_url.startswith("local:"):
        broker_places(settings.broker_url)
    if settings.pay_url and not _is_base_url(settings.pay_url):
        raise Misconfigured(
            "PAYBELL_PAY_URL must be http://HOST:PORT or https://HOST, with nothing after a ?."
        )
    if settings.pay_url_plain_http == "refuse" and _is_plain_http_elsewhere(settings.pay_url):
        raise Misconfigured(
            "PAYBELL_PAY_URL is http:// to another machine, which sends tokens unencrypted: use https://, "
            "or set PAYBELL_PAY_URL_PLAIN_HTTP=allow where the network itself is encrypted."
        )
    return settings


def service_links(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the variables that Kubernetes set to the URL of a service with our name; no settings of ours."""
    ports = [name for name in Settings.__struct_encode_fields__ if name.endswith("_PORT")]
    return [name for name in ports if "://" in environ.get(name, "")]


def is_loopback(host: str) -> bool:
    """Say whether a name or address is this machine's own, whatever a name service says."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host.lower() == "localhost"


def _is_plain_http_elsewhere(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def _is_base_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)


def _path(wanted: type, value: object) -> object:
    assert wanted is Path, "the only type of a setting msgspec does not know"
    return Path(str(value))


def _readable(error: msgspec.ValidationError) -> str:
    problem, _, place = str(error).partition(" - at `$.")
    return f"{place.rstrip('`') or 'A setting'}: {problem[0].lower()}{problem[1:]}."
