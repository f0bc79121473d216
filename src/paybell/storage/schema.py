"""The scripts of a schema, as files: ``NNNN_name.sql`` in a context's folder ``migrations``.

A comment line of its own in a script may say more: ``-- floor: NNNN``, or ``-- outside a transaction``.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from operator import itemgetter

_FORM = re.compile(r"(\d{4})_\w+\.sql")
_FLOOR = re.compile(r"^-- floor: (\d{4})$", re.MULTILINE)
_OUTSIDE = re.compile(r"^-- outside a transaction$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """One step of a schema. ``floor`` is the oldest version whose release runs on what it makes."""

    version: str
    floor: str
    text: str

    @property
    def checksum(self) -> str:
        """What a script that was applied is recognised by."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def statements(self) -> Sequence[str] | None:
        """The statements that no transaction may surround; None for all other scripts."""
        if not _OUTSIDE.search(self.text):
            return None
        return [statement for statement in re.split(r";\s*\n", self.text) if statement.strip()]


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of one context: its stored name, and the folder of its scripts ``NNNN_name.sql``.

    Each schema counts its own versions; one database can hold several.
    """

    name: str
    folder: Traversable

    def rights(self) -> str:
        """Return the statements that give ``:role`` what a process of ours needs in these tables."""
        return self.folder.joinpath("rights.sql").read_text(encoding="utf-8")

    def scripts(self) -> Sequence[Script]:
        """Return all scripts in order."""
        found = [
            (match[1], entry) for entry in self.folder.iterdir() if (match := _FORM.fullmatch(entry.name))
        ]
        assert len({version for version, _ in found}) == len(found), (
            f"two scripts of {self.name} have one number"
        )
        scripts: list[Script] = []
        for version, entry in sorted(found, key=itemgetter(0)):
            text = entry.read_text(encoding="utf-8")
            said = _FLOOR.search(text)
            before = scripts[-1].version if scripts else version
            scripts.append(Script(version, said[1] if said else before, text))
        return scripts
