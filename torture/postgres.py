"""The embedded PostgreSQL of a run, and how it crashes."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from paybell.storage.embedded import embedded_postgres

# What is killed dies at once; how soon it is buried is up to process 1, and the next start can do without.
_BURIAL_SECONDS = 5.0


class Postgres:
    """A server in a folder of its own; its methods block, so call them from a thread."""

    def __init__(self, home: Path) -> None:
        """Take the folder; nothing is started."""
        self._home = home
        self._uses = ExitStack()
        self._pids: list[int] = []
        self.urls: dict[str, str] = {}

    def start(self) -> None:
        """Start it, after a crash with recovery, and learn the URLs of its databases."""
        self.urls = self._uses.enter_context(embedded_postgres(self._home))

    def stop(self) -> None:
        """Stop it in order."""
        self.thaw()
        self._uses.close()

    @property
    def socket(self) -> str:
        """The path of its Unix socket."""
        query = parse_qs(urlsplit(self.urls["paybell_pay"]).query)
        return f"{query['host'][0]}/.s.PGSQL.5432"

    def crash(self) -> None:
        """Kill the postmaster and everything it has started (SIGKILL); return when they are gone."""
        born = {pid: _birth(pid) for pid in self._processes()}
        for pid in born:
            _signal(pid, signal.SIGKILL)
        deadline = time.monotonic() + _BURIAL_SECONDS
        while (
            any(birth and _birth(pid) == birth for pid, birth in born.items()) and time.monotonic() < deadline
        ):
            time.sleep(0.01)

    def freeze(self) -> None:
        """Stop all its processes (SIGSTOP): connections stay open and nothing answers, until `thaw`."""
        self._pids = list(self._processes())
        for pid in self._pids:
            _signal(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on (SIGCONT)."""
        for pid in self._pids:
            _signal(pid, signal.SIGCONT)
        self._pids = []

    def _processes(self) -> Iterator[int]:
        with suppress(OSError):
            lines = (self._home / "postgres" / "postmaster.pid").read_text().splitlines()
            postmaster = int(lines[0])
            yield postmaster
            children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text()
            yield from (int(pid) for pid in children.split())


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _birth(pid: int) -> str:
    """When a process was started, in the kernel's ticks: its number alone may be somebody else's by now."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""
