"""The locks hold versions and hashes, and say nothing of the machine they were made on."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted(
    path.relative_to(ROOT)
    for pattern in ("requirements*.lock", "*/requirements*.lock", "package-lock.json", "*/package-lock.json")
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("lock", LOCKS, ids=str)
def test_no_lock_names_a_host(lock: Path) -> None:
    """Neither an index nor a mirror: whoever installs has their own."""
    text = (ROOT / lock).read_text()

    assert re.findall(r"\S+://\S*|--(?:extra-)?index-url.*|--find-links.*|\"resolved\".*", text) == []


def test_there_are_locks() -> None:
    assert [str(lock) for lock in LOCKS if lock.parent == Path()] == [
        "package-lock.json",
        "requirements-dev.lock",
        "requirements.lock",
    ]
