"""The settings: environment variables ``PAYBELL_…``, read and checked once at start."""

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from paybell.errors import Misconfigured

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
# RFC 7518 section 3.2: a key for HS256 has at least 256 bits.
SECRET_BYTES_MIN = 32

# api: wallets and pay orders. background: what follows a payment (relay, deadlines, folding, sealing,
# retention). trade: orders and their listeners. ops: console and comparison of both sides.
ROLES = frozenset({"api", "background", "trade", "ops"})

Text = Annotated[str, Meta(min_length=1)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename=lambda name: f"PAYBELL_{name.upper()}"):
    """Every setting, its unit and its default. Generated into `docs/settings.md`."""

    home: Annotated[Path, Meta(description="Folder of the embedded database and development secrets.")] = (
        Path(".paybell")
    )
    host: Annotated[Text, Meta(description="Address the HTTP server listens on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port of the HTTP server; 0 takes a free one.")] = (
        8000
    )
    database_url: Annotated[
        str, Meta(description="PostgreSQL of wallets and pay orders; empty: the embedded server.")
    ] = ""
    trade_database_url: Annotated[
        str, Meta(description="PostgreSQL of the order service; empty: the embedded server.")
    ] = ""
    database_connections: Annotated[
        int, Meta(ge=2, le=200, description="Most connections of one process to each database.")
    ] = 8
    broker_url: Annotated[
        Text,
        Meta(description="local: (in process), or amqp:// / amqps:// URLs, several separated by commas."),
    ] = "local:"
    queue_type: Annotated[
        Literal["classic", "quorum"],
        Meta(description="Type of trade.pay.success.queue; quorum adds x-queue-type when it is declared."),
    ] = "classic"
    legacy_content_type: Annotated[
        Text,
        Meta(description="Content type on pay.success; text/x-json is read right by both Spring converters."),
    ] = "text/x-json"
    jwt_secret: Annotated[
        str, Meta(description="Key of the bearer tokens (HS256), at least 32 bytes off loopback.")
    ] = ""
    pin_pepper: Annotated[
        str,
        Meta(
            description="Keys of the pay-password MAC as id:secret, newest first, separated by commas; "
            "a secret alone has the id 1."
        ),
    ] = ""
    merchant_id: Annotated[
        Text, Meta(max_length=64, description="Merchant of tokens that carry no merchant claim.")
    ] = "1"
    pay_url: Annotated[
        str, Meta(description="Where the order service finds the pay service; empty: this process.")
    ] = ""
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
            description="How long a relay may hold events; more than twice the publish deadline.",
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
        int, Meta(ge=1, le=3650, description="How long dead letters are kept, and can be replayed.")
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
        return self.host in LOOPBACK_HOSTS

    @property
    def embedded(self) -> bool:
        """Say whether the embedded PostgreSQL serves at least one of the two databases."""
        return not (self.database_url and self.trade_database_url)


def read_settings(environ: Mapping[str, str] = os.environ, **overrides: object) -> Settings:
    """Read the settings from the environment; ``overrides`` are field names and win.

    Raises:
        Misconfigured: a value is not of its documented form, or the rules between them are broken.
    """
    names = dict(zip(Settings.__struct_encode_fields__, Settings.__struct_fields__, strict=True))
    given: dict[str, object] = {name: environ[name] for name in names if environ.get(name)}
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
    if not settings.broker_url.startswith(("local:", "amqp://", "amqps://")):
        raise Misconfigured("PAYBELL_BROKER_URL must be local:, amqp://… or amqps://….")
    if settings.pay_url and not _is_base_url(settings.pay_url):
        raise Misconfigured(
            "PAYBELL_PAY_URL must be http://HOST:PORT or https://HOST, with nothing after a ?."
        )
    return settings


def _is_base_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)


def with_secrets(settings: Settings) -> Settings:
    """Return the settings with both secrets present.

    In embedded mode missing ones are generated once into ``PAYBELL_HOME``, readable by the
    owner only. Off loopback nothing is generated and nothing short is accepted.

    Raises:
        Misconfigured: a real secret is needed and missing or too short.
    """
    if not settings.loopback:
        for name, value in (
            ("PAYBELL_JWT_SECRET", settings.jwt_secret),
            ("PAYBELL_PIN_PEPPER", settings.pin_pepper),
        ):
            if len(value.encode()) < SECRET_BYTES_MIN:
                raise Misconfigured(
                    f"Set {name} to at least {SECRET_BYTES_MIN} random bytes to listen on {settings.host}."
                )
        return settings
    return msgspec.structs.replace(
        settings,
        jwt_secret=settings.jwt_secret or _development_secret(settings, "jwt-secret", "PAYBELL_JWT_SECRET"),
        pin_pepper=settings.pin_pepper or _development_secret(settings, "pin-pepper", "PAYBELL_PIN_PEPPER"),
    )


def _development_secret(settings: Settings, file_name: str, setting: str) -> str:
    if not settings.embedded:
        raise Misconfigured(f"Set {setting}: secrets are only generated for the embedded database.")
    path = settings.home / file_name
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _place(path, secrets.token_urlsafe(48))
        secret = path.read_text()
    except OSError as error:
        raise Misconfigured(f"PAYBELL_HOME ({settings.home}) cannot be used: {error.strerror}.") from error
    if len(secret) < SECRET_BYTES_MIN:
        raise Misconfigured(f"{path} is damaged; restore it, or remove it together with the database.")
    return secret


def _place(path: Path, text: str) -> None:
    """Write a file whole or not at all; of two processes doing so at once the first one's stays."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    try:
        with suppress(FileExistsError):
            path.hardlink_to(fresh)
    finally:
        fresh.unlink()


def _path(wanted: type, value: object) -> object:
    assert wanted is Path, "the only type of a setting msgspec does not know"
    return Path(str(value))


def _readable(error: msgspec.ValidationError) -> str:
    problem, _, place = str(error).partition(" - at `$.")
    return f"{place.rstrip('`') or 'A setting'}: {problem[0].lower()}{problem[1:]}."
