"""The secrets among the settings: long enough where it matters, made for whoever only tries it out."""

import os
import secrets
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from paybell.environment.keys import SECRET_BYTES_MIN, keys_of
from paybell.errors import Misconfigured
from paybell.settings import Settings

_JWT_SECRET, _PIN_PEPPER = "PAYBELL_JWT_SECRET", "PAYBELL_PIN_PEPPER"
_SEAL_KEYS, _EVENT_KEYS = "PAYBELL_SEAL_KEYS", "PAYBELL_EVENT_KEYS"


def with_secrets(settings: Settings) -> Settings:
    """Return the settings with all secrets present.

    On loopback with an embedded database missing ones are generated once into ``PAYBELL_HOME``,
    readable by the owner only; they are as good as given ones. Of given ones each key is long enough
    as soon as other machines are involved.

    Raises:
        Misconfigured: a secret is needed and missing, or too short.
    """
    event_keys = settings.event_keys
    # Who brings a token secret may have other processes that know no key of ours.
    if not (settings.jwt_secret or event_keys) and settings.embedded and settings.loopback:
        event_keys = _development_secret(settings, "event-keys", _EVENT_KEYS, "1:")
    jwt_secret = settings.jwt_secret or _development_secret(settings, "jwt-secret", _JWT_SECRET)
    if settings.needs_real_secrets:
        _check_length(_JWT_SECRET, jwt_secret)
    pin_pepper = settings.pin_pepper or _development_secret(settings, "pin-pepper", _PIN_PEPPER)
    if settings.needs_real_secrets:
        for key_id, key in keys_of(_PIN_PEPPER, pin_pepper).items():
            _check_length(f"{_PIN_PEPPER}, key {key_id}", key)
    if settings.seal_keys and settings.needs_real_secrets:
        for key_id, key in keys_of(_SEAL_KEYS, settings.seal_keys).items():
            _check_length(f"{_SEAL_KEYS}, key {key_id}", key)
    return replace(settings, jwt_secret=jwt_secret, pin_pepper=pin_pepper, event_keys=event_keys)


def _check_length(what: str, key: str) -> None:
    if len(key.encode()) < SECRET_BYTES_MIN:
        raise Misconfigured(
            f"{what}: at least {SECRET_BYTES_MIN} random bytes are needed with a database or broker URL, "
            f"or when other machines can connect. {_make(what.partition(',')[0])}"
        )


def _make(setting: str) -> str:
    """Return the command that makes a secret."""
    return f"One is made by: export {setting}=$(openssl rand -hex {SECRET_BYTES_MIN})"


def _development_secret(settings: Settings, file_name: str, setting: str, prefix: str = "") -> str:
    if not (settings.embedded and settings.loopback):
        raise Misconfigured(
            f"Set {setting} to at least {SECRET_BYTES_MIN} random bytes: secrets are only generated for "
            f"an embedded database on loopback. {_make(setting)}"
        )
    path = settings.home / file_name
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _place(path, prefix + secrets.token_urlsafe(48))
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
