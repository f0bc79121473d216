"""Several workers on one port: started, watched, replaced, stopped together."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

import structlog

from paybell.serving.counts_folder import counts_folder
from paybell.serving.databases import is_embedded
from paybell.serving.hangup import Terminal
from paybell.settings import Settings
from paybell.storage.embedded import used_by_children
from paybell.telemetry.metrics import MULTIPROCESS_VARIABLE, forget_worker

log = structlog.get_logger()
# How often dead workers are looked for; one that dies at once, again and again, must not eat a core.
WATCH_SECONDS = 1.0
# A worker grants itself 8 s (see `paybell.serving.process`) and is killed when it needs more.
STOP_SECONDS = 9.5


class Supervisor:
    """Keeps a number of workers running; the kernel hands each connection to one of them."""

    def __init__(self, command: list[str], environment: Mapping[str, str], inherited: Sequence[int]) -> None:
        self._command = command
        self._environment = environment
        self._inherited = inherited
        self._workers: list[subprocess.Popen[bytes]] = []

    def run(self, count: int) -> None:
        """Watch the workers until SIGTERM or SIGINT; SIGHUP is theirs, unless our terminal was closed."""
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        terminal = Terminal()
        signal.signal(signal.SIGHUP, lambda *_: stop.set() if terminal.is_gone else self._read_again())
        self._workers = [self._start() for _ in range(count)]
        while not stop.wait(WATCH_SECONDS):
            for index, worker in enumerate(self._workers):
                if worker.poll() is not None:
                    log.error("worker_died", pid=worker.pid, exit_code=worker.returncode)
                    forget_worker(worker.pid, self._environment[MULTIPROCESS_VARIABLE])
                    self._workers[index] = self._start()
        self._stop()

    def _start(self) -> "subprocess.Popen[bytes]":
        # A session of its own: Ctrl-C is for us, and we stop the workers.
        return subprocess.Popen(  # noqa: S603 - ourselves
            self._command, env=self._environment, pass_fds=tuple(self._inherited), start_new_session=True
        )

    def _read_again(self) -> None:
        for worker in self._workers:
            worker.send_signal(signal.SIGHUP)

    def _stop(self) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            try:
                worker.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("worker_cut_off", pid=worker.pid)
                worker.kill()


def run_workers(
    count: int,
    settings: Settings,
    urls: Mapping[str, str],
    roles: frozenset[str],
    sockets: Sequence[socket.socket],
    *,
    ready: Callable[[], object],
) -> None:
    """Run ``count`` workers on these sockets and the databases of this process; a pipe tells of its death.

    ``ready`` is called when there is nothing left to refuse.

    Raises:
        NoTemporaryFolder: there is no place where they could add their counts up.
    """
    alive, _ours = os.pipe()
    inherited = (alive, *(one.fileno() for one in sockets))
    command = [sys.executable, "-m", "paybell", "serve"]
    command += [argument for number in inherited for argument in ("--inherited", str(number))]
    command += [argument for role in sorted(roles) for argument in ("--role", role)]
    with ExitStack() as stack:
        counts, kept = stack.enter_context(counts_folder())
        # They outlive a killed supervisor for some seconds, and need the server that is embedded in it.
        server = stack.enter_context(used_by_children(settings.home)) if is_embedded(settings, urls) else ()
        ready()
        environment = os.environ | {
            MULTIPROCESS_VARIABLE: counts,
            "PAYBELL_HOST": settings.host,
            "PAYBELL_DATABASE_URL": urls.get("pay", ""),
            "PAYBELL_TRADE_DATABASE_URL": urls.get("trade", ""),
            "PAYBELL_JWT_SECRET": settings.jwt_secret,
            "PAYBELL_PIN_PEPPER": settings.pin_pepper,
            "PAYBELL_EVENT_KEYS": settings.event_keys,
        }
        Supervisor(command, environment, (*inherited, kept, *server)).run(count)
