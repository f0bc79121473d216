"""Two real PostgreSQL servers: a primary, and a standby that each commit waits for."""

import asyncio
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import asyncpg
import psutil
from support import connected, until

from paybell.storage.server_account import as_server_user, give_to_server_user, programs
from paybell.testing.ports import LOOPBACK, free_port

_CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
port = {port}
fsync = off
max_connections = {connections}
primary_conninfo = 'host=127.0.0.1 port={other} user=postgres application_name=b'
"""
# Few, so that a leak shows soon.
CONNECTIONS = 24


class Server:
    """One server in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        """Take the folder; nothing is started."""
        self._folder = folder
        self.port = free_port()
        self.place = f"{LOOPBACK}:{self.port}"
        self.url = f"postgresql://postgres@{self.place}/postgres"
        self._process: subprocess.Popen[bytes] | None = None

    def create(self) -> None:
        """Make an empty cluster."""
        self.run(
            "initdb", "-D", str(self._folder), *"-A trust -N -U postgres --encoding=UTF8 --locale=C".split()
        )

    def configure(self, other: "Server") -> None:
        """Write what is this server's own, also over a copy's."""
        text = _CONFIGURATION.format(port=self.port, other=other.port, connections=CONNECTIONS)
        (self._folder / "postgresql.auto.conf").write_text(text)

    def run(self, program: str, *arguments: str) -> None:
        """Run a program of PostgreSQL's to its end."""
        command = [_program(program), *arguments]
        subprocess.run(command, cwd="/", check=True, capture_output=True, **as_server_user())  # noqa: S603 - ours

    async def start(self) -> None:
        """Start it; return when it answers."""
        with (self._folder / "log").open("ab") as log:
            command = [_program("postgres"), "-D", str(self._folder)]
            self._process = subprocess.Popen(  # noqa: S603, ASYNC220 - ours
                command, cwd="/", stdout=log, stderr=log, **as_server_user()
            )
        await until(self.answers, seconds=30)

    async def answers(self) -> bool:
        """Say whether it lets sessions in."""
        with suppress(OSError, asyncpg.PostgresError):
            async with connected(self.url) as rows:
                return bool(await rows.fetchval("SELECT true"))
        return False

    def freeze(self) -> None:
        """Stop all its processes: connections stay open and nothing answers, until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill all its processes and wait for their end."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with suppress(psutil.NoSuchProcess):
            postmaster = psutil.Process(self._process.pid)
            for one in (postmaster, *postmaster.children()):
                with suppress(psutil.NoSuchProcess):
                    one.send_signal(number)


def _program(name: str) -> str:
    return str(programs() / name)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="standby-") as own:
        folder = Path(own)
        give_to_server_user(folder)
        yield folder


@asynccontextmanager
async def two_servers() -> AsyncIterator[tuple[Server, Server]]:
    """Start a primary and its synchronous standby."""
    with ExitStack() as stack:
        folder = stack.enter_context(_folder())
        a, b = Server(folder / "a"), Server(folder / "b")
        for server in (a, b):
            stack.callback(server.kill)
        await asyncio.to_thread(a.create)
        a.configure(b)
        await a.start()
        await asyncio.to_thread(
            b.run, *f"pg_basebackup -d {a.url} -D {folder}/b -R -X stream -c fast".split()
        )
        b.configure(a)
        await b.start()
        await wait_for_standby(a, "b")
        yield a, b


async def wait_for_standby(primary: Server, name: str) -> None:
    """Make each commit wait for the standby of this name, or for none if it is empty."""

    async def so() -> bool:
        async with connected(primary.url) as rows:
            return (await rows.fetchval("SELECT max(sync_state) FROM pg_stat_replication") == "sync") is bool(
                name
            )

    async with connected(primary.url) as rows:
        await rows.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
        await rows.execute("SELECT pg_reload_conf()")
    await until(so)
