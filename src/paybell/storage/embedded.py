"""The embedded PostgreSQL of a ``PAYBELL_HOME``, used by several processes.

Each holds a shared file lock while it does; whoever leaves last, and so can take the lock
alone, stops the server. The kernel drops the lock of a killed process; when all were killed,
`embedded_watcher` stops the server.
"""

import fcntl
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from paybell.errors import Misconfigured, NoTemporaryFolder
from paybell.storage.embedded_server import EmbeddedServer

PAY_DATABASE = "paybell_pay"
TRADE_DATABASE = "paybell_trade"
# Held by all users. Watchers wait for the first, and whoever leaves tries to get the second alone: of one
# file a watcher could be given the lock in the moment in which it is tried.
_ALIVE, _USERS = "postgres.alive", "postgres.users"
_WATCHER = Path(__file__).with_name("embedded_watcher.py")


@contextmanager
def embedded_postgres(home: Path) -> Iterator[dict[str, str]]:
    """Run the server of ``home`` and yield the URLs of its databases by name.

    Raises:
        Misconfigured: the folder cannot be used or the server does not start.
    """
    home = home.expanduser().resolve()
    with used_by_children(home) as (_, users):
        with (home / "postgres.starting").open("a") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            _watch(home)
            server = EmbeddedServer(home)
            server.start()
            urls = {name: server.database(name) for name in (PAY_DATABASE, TRADE_DATABASE)}
        try:
            yield urls
        finally:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # another process still uses it
            else:
                server.stop()


@contextmanager
def used_by_children(home: Path) -> Iterator[Sequence[int]]:
    """Yield descriptors for child processes: nobody stops the server while one of them has these.

    Raises:
        Misconfigured: the folder cannot be used.
    """
    home = home.expanduser().resolve()
    with ExitStack() as stack:
        try:
            home.mkdir(parents=True, exist_ok=True)
            files = [stack.enter_context((home / name).open("a")) for name in (_ALIVE, _USERS)]
        except OSError as error:
            raise Misconfigured(f"PAYBELL_HOME ({home}) cannot be used: {error.strerror}.") from error
        for file in files:
            fcntl.flock(file, fcntl.LOCK_SH)
        yield [file.fileno() for file in files]


def _watch(home: Path) -> None:
    """Start a watcher unless there is one."""
    with (home / "postgres.watcher").open("a") as alone:
        try:
            fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        subprocess.run(  # noqa: S603 - ourselves; it returns when the watcher is on its own
            [sys.executable, "-P", _WATCHER, home, home / _ALIVE, str(alone.fileno())],
            check=True,
            cwd="/",
            pass_fds=[alone.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


@contextmanager
def temporary_home(prefix: str) -> Iterator[Path]:
    """Make a home that is gone afterwards, with its data wherever they are (`server_account.data_folder`).

    Raises:
        NoTemporaryFolder: there is no place for it.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
    except OSError as error:
        raise NoTemporaryFolder from error
    with folder as name:
        home = Path(name)
        try:
            yield home
        finally:
            remove_data(home)
            for pointer in list(home.rglob("postgres")):  # of homes below it
                remove_data(pointer.parent)


def remove_data(home: Path) -> None:
    """Remove the data of a home whose server does not run."""
    data = home / "postgres"
    shutil.rmtree(data.resolve(), ignore_errors=True)
    if data.is_symlink():
        data.unlink()
