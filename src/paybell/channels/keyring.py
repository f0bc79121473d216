"""The keys of one setting: out of files or the setting itself, newest first, read again while running."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import structlog

from paybell.errors import Misconfigured

log = structlog.get_logger()

Key = TypeVar("Key")

# Two overlap in a rotation; a third only when one of those is rotated again before it has ended.
KEYS_MAX = 4
# How soon a file that changed is noticed.
KEYS_SECONDS = 60.0
_FILE_BYTES_MAX = 64 * 1024
_FILE = "file:"
# Base64 ends with = itself, so a name is short and something follows it.
_NAMED = re.compile(r"([A-Za-z0-9_]{1,64})=(?=[^=])(.*)", re.DOTALL)
_OTHERS_MAY = 0o077


class Keyring(Generic[Key]):
    """What stands in a setting as ``[name=]key,[name=]key``; a key may be ``file:PATH``.

    A file that changed is read again by `refresh`; one that became unreadable leaves the last good key
    in its place, so that a rotation gone wrong stops nobody's payment.
    """

    def __init__(
        self, setting: str, text: str, read: Callable[[str], Key], *, names_in_files: bool = False
    ) -> None:
        """Read all keys.

        Args:
            setting: its variable, for messages.
            text: its value; empty: there is no key.
            read: makes a key of its text; raises ValueError, with a message that does not hold the text.
            names_in_files: a file may say ``name=key`` itself, so that the name changes with the key.

        Raises:
            Misconfigured: a key is of another form, or its file cannot be read.
        """
        self.setting = setting
        self._read, self._names_in_files = read, names_in_files
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if len(parts) > KEYS_MAX:
            raise Misconfigured(f"{setting}: at most {KEYS_MAX} keys are active at a time.")
        self._sources = [(name, source.strip()) for name, source in map(_named, parts)]
        try:
            self._texts = [_text_of(source) for _, source in self._sources]
            self._keys = [
                self._key(name, text) for (name, _), text in zip(self._sources, self._texts, strict=True)
            ]
        except (OSError, ValueError) as error:
            raise Misconfigured(f"{setting}: {_reason(error)}.") from error

    @property
    def all(self) -> Sequence[tuple[str, Key]]:
        """All keys with their names, newest first; a key without a name has an empty one."""
        return list(self._keys)

    @property
    def newest(self) -> Key:
        """The key to sign with.

        Raises:
            Misconfigured: there is none.
        """
        if not self._keys:
            raise Misconfigured(f"Set {self.setting}.")
        return self._keys[0][1]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __repr__(self) -> str:
        return f"Keyring({self.setting}, {len(self._keys)} keys)"

    def refresh(self) -> bool:
        """Read the files again; return whether a key has changed."""
        changed = False
        for place, (name, source) in enumerate(self._sources):
            if not source.startswith(_FILE):
                continue
            try:
                text = _text_of(source)
                if text != self._texts[place]:
                    key = self._key(name, text)
                    if self._keys[place][0] and not key[0]:
                        raise ValueError("the file has lost the name of its key")
                    self._keys[place], self._texts[place] = key, text
                    changed = True
            except (OSError, ValueError) as error:
                log.warning("channel_key_kept", setting=self.setting, reason=_reason(error))
        return changed

    def _key(self, name: str, text: str) -> tuple[str, Key]:
        inside, rest = _named(text) if self._names_in_files else ("", text)
        return inside or name, self._read(rest.strip())

    def open_files(self) -> Sequence[Path]:
        """Return the files that others than their owner may read."""
        files = [Path(source.removeprefix(_FILE)) for _, source in self._sources if source.startswith(_FILE)]
        return [file for file in files if file.exists() and file.stat().st_mode & _OTHERS_MAY]


class KeyFiles:
    """Reads all key files again, for a loop."""

    def __init__(self, keyrings: Sequence["Keyring[Any]"]) -> None:
        self._keyrings = keyrings

    async def run_once(self) -> int:
        """Look once; return 0, as there is never more to do."""
        for ring in self._keyrings:
            if ring.refresh():
                log.info("channel_key_changed", setting=ring.setting)
        return 0


def _named(text: str) -> tuple[str, str]:
    match = _NAMED.fullmatch(text)
    return (match[1], match[2]) if match else ("", text)


def _text_of(source: str) -> str:
    if not source.startswith(_FILE):
        return source
    with Path(source.removeprefix(_FILE)).open("rb") as file:
        return file.read(_FILE_BYTES_MAX).decode("utf-8", "replace").strip()


def _reason(error: OSError | ValueError) -> str:
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
