"""One PostgreSQL server of our own, out of a Python wheel: made, started, asked and stopped.

It listens on a Unix socket only. Its folder and its socket's have mode 0700 at all times, so nobody but
their owner, and root, can connect.
"""

import os
import shlex
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from paybell.errors import Misconfigured
from paybell.storage.server_account import as_server_user, data_folder, give_to_server_user, programs

# A crashed server replays its log first.
_START_SECONDS = 60
_POLL_SECONDS = 0.05
# No process has the largest number there could be.
_NOBODY = str(2**31 - 1)
# sockaddr_un on macOS, the shortest there is, less its zero byte.
_SOCKET_BYTES_MAX = 103
_SOCKET = ".s.PGSQL.5432"
_SOCKET_FOLDER_PREFIX = "paybell-postgres-"
# Sized for a small machine: both databases of a demo fit in memory twice over.
_CONFIGURATION = """
max_connections = 200
shared_buffers = 256MB
track_commit_timestamp = on
max_wal_size = 2GB
checkpoint_timeout = 15min
"""
# By code point, whatever the machine's language is.
_LOCALE = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")


class _Failed(Exception):
    """A program of PostgreSQL's failed; the text ends with what it said last."""


class EmbeddedServer:
    """The server of one home; its methods block, and one process at a time calls them."""

    def __init__(self, home: Path) -> None:
        """Find or make its folder.

        Raises:
            Misconfigured: the folder cannot be made, or is closed to the server's user.
        """
        try:
            self._data = data_folder(home)
        except OSError as error:
            raise Misconfigured(f"PAYBELL_HOME ({home}) cannot be used: {error.strerror}.") from error

    def start(self) -> None:
        """Start it unless it runs; return when it lets sessions in.

        Raises:
            Misconfigured: it does not start, or another release runs it with a socket for everybody.
        """
        try:
            if not self._answers():
                self._forget_dead_server()
                self._launch()
            self._until_ready()
        except (OSError, _Failed) as error:
            raise self._not_started(str(error)) from error
        if self._socket_folder.stat().st_mode & 0o077:
            raise Misconfigured(
                f"Others can connect to the PostgreSQL that runs in {self._data}: "
                "stop the release that started it, and start again."
            )

    def stop(self) -> None:
        """Stop it in order; nothing if it does not run."""
        folder = self._socket_folder
        for mode in ("fast", "immediate"):
            with suppress(_Failed):
                self._run("pg_ctl", "stop", "-w", "-m", mode, "-D", str(self._data))
                break
            if not self._answers():
                break
        _remove_socket_folder(folder)

    def database(self, name: str) -> str:
        """Make a database unless there is one, and return its URL.

        Raises:
            Misconfigured: the server refuses.
        """
        try:
            try:
                self._ensure(name)
            except _Failed:
                if self._answers():
                    raise
                self.start()  # it answered while it was dying: what is killed takes connections for a moment
                self._ensure(name)
        except _Failed as error:
            raise self._not_started(str(error)) from error
        return f"postgresql://postgres:@/{name}?host={quote(str(self._socket_folder))}"

    def _ensure(self, name: str) -> None:
        folder = str(self._socket_folder)
        ask = ("psql", "-X", "-q", "-t", "-A", "-h", folder, "-U", "postgres", "-d", "postgres", "-c")
        if not self._run(*ask, f"SELECT 1 FROM pg_database WHERE datname = '{name}'").strip():  # noqa: S608 - a constant
            self._run(*ask, f"CREATE DATABASE {name}")

    def _launch(self) -> None:
        if not (self._data / "PG_VERSION").exists():
            arguments = ("--auth=trust", "--encoding=UTF8", *_LOCALE, "-U", "postgres", "-D", str(self._data))
            self._run("initdb", *arguments)
            with (self._data / "postgresql.conf").open("a") as file:
                file.write(_CONFIGURATION)
        folder = self._data
        # A comma would make two folders of it.
        if len(os.fsencode(folder / _SOCKET)) > _SOCKET_BYTES_MAX or "," in str(folder):
            folder = Path(tempfile.mkdtemp(prefix=_SOCKET_FOLDER_PREFIX))  # with mode 0700
            give_to_server_user(folder)
        options = shlex.join(["-h", "", "-k", str(folder), "-c", "unix_socket_permissions=0700"])
        log, deadline = self._data / "log", time.monotonic() + _START_SECONDS
        while True:
            before = log.stat().st_size if log.exists() else 0
            try:
                wait = ("-w", "-t", str(_START_SECONDS))
                self._run("pg_ctl", "start", *wait, "-l", str(log), "-o", options, "-D", str(self._data))
            except _Failed:
                # The processes of a server that was killed a moment ago need that moment to end.
                dying = b"is still in use" in log.read_bytes()[before:] if log.exists() else False
                if not dying or time.monotonic() > deadline:
                    _remove_socket_folder(folder)
                    raise
                time.sleep(_POLL_SECONDS)
            else:
                return

    def _until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while self._notes()[7].strip() != "ready":
            if time.monotonic() > deadline:
                raise self._not_started(f"not ready within {_START_SECONDS} s")
            time.sleep(_POLL_SECONDS)

    def _run(self, program: str, *arguments: str) -> str:
        command = [str(programs() / program), *arguments]
        with tempfile.TemporaryFile() as output:  # a pipe would stay open in the server that pg_ctl starts
            done = subprocess.run(  # noqa: S603 - PostgreSQL's own programs
                command,
                env=_environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                **as_server_user(),
            )
            output.seek(0)
            said = output.read().decode(errors="replace")
        if done.returncode:
            raise _Failed(f"{program}: {' / '.join(said.splitlines()[-3:])}")
        return said

    def _notes(self) -> list[str]:
        """Return the eight lines in which a server says who and where it is; empty ones if there is none."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            lines = []
        return [*lines, *[""] * 8][:8]

    @property
    def _socket_folder(self) -> Path:
        return Path(self._notes()[4] or self._data)

    def _answers(self) -> bool:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(self._socket_folder / _SOCKET))
            return True
        return False

    def _forget_dead_server(self) -> None:
        """Take the process number out of a killed server's lock files: it may be anybody's by now.

        PostgreSQL would believe that the server runs; after a restart of a container it nearly always
        would. The rest stays: by it PostgreSQL makes sure that nothing of the old one lives.
        """
        folder = self._socket_folder
        for lock in (self._data / "postmaster.pid", folder / f"{_SOCKET}.lock"):
            with suppress(FileNotFoundError):
                _, _, rest = lock.read_text().partition("\n")
                lock.write_text(f"{_NOBODY}\n{rest}")
        _remove_socket_folder(folder)

    def _not_started(self, reason: str) -> Misconfigured:
        return Misconfigured(
            f"The embedded PostgreSQL does not start ({reason}); see {self._data / 'log'}, "
            "or set PAYBELL_DATABASE_URL and PAYBELL_TRADE_DATABASE_URL."
        )


def _environment() -> Mapping[str, str]:
    """Return ours without what PostgreSQL's programs read (PGPORT, PGOPTIONS, …) and languages."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C"}


def _remove_socket_folder(folder: Path) -> None:
    """Remove a folder that a long home needed for its socket; one that holds data is kept."""
    if folder.name.startswith(_SOCKET_FOLDER_PREFIX):
        with suppress(OSError):
            for left in folder.iterdir():
                left.unlink()
            folder.rmdir()
