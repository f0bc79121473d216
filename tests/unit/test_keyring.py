"""Keys out of settings and files: several, read again, never shown."""

from pathlib import Path

import pytest
from rsa_keys import key_pair, private_key

from paybell.channels.crypto import BadKey, PrivateKey, PublicKey
from paybell.channels.keyring import KeyFiles, Keyring
from paybell.errors import Misconfigured


def test_the_first_key_signs_and_all_are_known(tmp_path: Path) -> None:
    file = tmp_path / "new.pem"
    file.write_text(key_pair(1).private)
    ring = Keyring("PAYBELL_X", f"file:{file},{key_pair(0).private}", PrivateKey)

    assert ring.newest.public.fingerprint == private_key(1).public.fingerprint
    assert [key.public.fingerprint for _, key in ring.all] == [
        private_key(1).public.fingerprint,
        private_key(0).public.fingerprint,
    ]


def test_a_key_may_have_a_name() -> None:
    bare = "".join(key_pair(0).public.splitlines()[1:-1])
    ring = Keyring("PAYBELL_X", f"PUB_KEY_ID_01={bare},{bare}", PublicKey)
    assert [name for name, _ in ring.all] == ["PUB_KEY_ID_01", ""]


def test_a_file_that_changed_is_read_again_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text(key_pair(0).private)
    ring = Keyring("PAYBELL_X", f"file:{file}", PrivateKey)
    assert not ring.refresh()

    file.write_text(key_pair(1).private)
    assert ring.refresh()
    assert ring.newest.public.fingerprint == private_key(1).public.fingerprint

    for broken in ("", "-----BEGIN PRIVATE KEY-----"):
        file.write_text(broken)
        assert not ring.refresh()
    file.unlink()
    assert not ring.refresh()
    assert ring.newest.public.fingerprint == private_key(1).public.fingerprint


def test_a_file_may_name_its_key_so_that_both_change_at_once(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"OLD={key_pair(0).private}")
    ring = Keyring("PAYBELL_X", f"file:{file}", PrivateKey, names_in_files=True)
    assert [name for name, _ in ring.all] == ["OLD"]

    file.write_text(f"NEW={key_pair(1).private}")
    assert ring.refresh()
    assert [name for name, _ in ring.all] == ["NEW"]

    # Without its name the channel would not know the key.
    file.write_text(key_pair(0).private)
    assert not ring.refresh()
    assert [(name, key.public.fingerprint) for name, key in ring.all] == [
        ("NEW", private_key(1).public.fingerprint)
    ]


async def test_a_loop_reads_the_files_of_all_channels(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text(key_pair(0).private)
    ring = Keyring("PAYBELL_X", f"file:{file}", PrivateKey)
    file.write_text(key_pair(1).private)

    assert await KeyFiles([ring]).run_once() == 0
    assert ring.newest.public.fingerprint == private_key(1).public.fingerprint


def test_a_file_that_others_may_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text(key_pair(0).private)
    ring = Keyring("PAYBELL_X", f"file:{file}", PrivateKey)

    file.chmod(0o644)
    assert ring.open_files() == [file]
    file.chmod(0o600)
    assert ring.open_files() == []


@pytest.mark.parametrize("text", ["nonsense", "file:/nowhere/key.pem", "a,b,c,d,e"])
def test_what_is_no_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(Misconfigured, match="PAYBELL_X: ") as refused:
        Keyring("PAYBELL_X", text, PrivateKey)
    assert "nonsense" not in str(refused.value)


def test_no_key_at_all_is_only_missed_when_one_signs() -> None:
    ring = Keyring("PAYBELL_X", "", PrivateKey)
    assert not ring
    with pytest.raises(Misconfigured, match="Set PAYBELL_X"):
        _ = ring.newest


def test_keys_show_nothing_of_themselves() -> None:
    ring = Keyring("PAYBELL_X", key_pair(0).private, PrivateKey)
    shown = f"{ring} {ring.newest} {ring.newest.public} {vars(ring).keys()} {key_pair(0)}"
    assert not any(line in shown for line in key_pair(0).private.splitlines() if line)


def test_a_weak_or_another_kind_of_key_is_refused() -> None:
    with pytest.raises(BadKey):
        PublicKey("MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=")
