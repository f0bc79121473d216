"""The embedded PostgreSQL of a ``PAYBELL_HOME``, used by several processes.

Each holds a shared file lock while it does; whoever leaves last, and so can take the lock
alone, stops the server. The kernel drops the lock of a killed process, so nothing has to be
cleaned up after it.
"""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paybell.errors import Misconfigured
from paybell.storage.embedded_server import EmbeddedServer

PAY_DATABASE = "paybell_pay"
TRADE_DATABASE = "paybell_trade"


@contextmanager
def embedded_postgres(home: Path) -> Iterator[dict[str, str]]:
    """Run the server of ``home`` and yield the URLs of its databases by name.

    Raises:
        Misconfigured: the folder cannot be used or the server does not start.
    """
    home = home.expanduser().resolve()
    try:
        home.mkdir(parents=True, exist_ok=True)
        users = (home / "postgres.users").open("a")
    except OSError as error:
        raise Misconfigured(f"PAYBELL_HOME ({home}) cannot be used: {error.strerror}.") from error
    with users:
        fcntl.flock(users, fcntl.LOCK_SH)
        with (home / "postgres.starting").open("a") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
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
def temporary_home(prefix: str) -> Iterator[Path]:
    """Make a home that is gone afterwards, with its data wherever they are (`server_account.data_folder`)."""
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        home = Path(folder)
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
