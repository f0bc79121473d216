"""A private RabbitMQ: ours to start, crash, freeze, block and cluster, beside anybody else's broker.

A node has its own data, ports, cookie and configuration, answers on the loopback only, and dies
with the process that started it. For the demo, tests and benchmarks; never for production.
"""

import atexit
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

from paybell.clock import SystemClock
from paybell.errors import Misconfigured, Unavailable
from paybell.testing.ports import LOOPBACK, free_port, is_free
from paybell.testing.rabbitmq_commands import NodeCommands
from paybell.testing.rabbitmq_install import URL_VARIABLE, ensure_installed, find_server
from paybell.testing.rabbitmq_process import answers, furnish, occupied, spawn
from paybell.testing.system_packages import only_in_ci

# A start takes 3 to 6 s on two cores; ten times that is a machine that cannot run it.
START_TIMEOUT_SECONDS = 60.0
# A stop takes 1 s; a node still running after this is killed, which loses nothing that was confirmed.
STOP_TIMEOUT_SECONDS = 10.0
# How often a starting node is asked whether it answers.
_POLL_SECONDS = 0.05


class RabbitmqNode(NodeCommands):
    """One RabbitMQ node, from `start` to `close`; as a context manager it closes itself."""

    def __init__(
        self, server: Path, home: Path, port: int, environment: dict[str, str], start_timeout_seconds: float
    ) -> None:
        """Use `RabbitmqNode.start`."""
        super().__init__(server, home, environment)
        self.port = port
        self._start_timeout_seconds = start_timeout_seconds
        self._cleanup = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(
        cls,
        home: Path | None = None,
        *,
        port: int | None = None,
        name: str | None = None,
        cookie: str | None = None,
        start_timeout_seconds: float = START_TIMEOUT_SECONDS,
    ) -> Self:
        """Start a node and return once it answers AMQP.

        Args:
            home: for data, configuration and log; without it a temporary folder, removed by `close`.
            port: for AMQP; without it a free one.
            name: what stands before ``@localhost`` in the node's name; without it made from ``home``,
                because RabbitMQ's data is bound to the name.
            cookie: the secret that the nodes of one cluster share; without it a new one.
            start_timeout_seconds: how long it may take to answer, here and in `restart`.

        Raises:
            Misconfigured: RabbitMQ is not installed, or ``home`` is in use or closed to its user.
            Unavailable: the port is taken, or the node died or did not answer in time; then the
                message ends with its log.
        """
        server = find_server()
        if server is None:
            raise Misconfigured("RabbitMQ is not installed, or its folder is not on the PATH.")
        with ExitStack() as cleanup:
            if home is None:
                home = Path(tempfile.mkdtemp(prefix="paybell-rabbitmq-"))
                cleanup.callback(shutil.rmtree, home, ignore_errors=True)
            home = home.resolve()
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            cleanup.enter_context(occupied(home))
            full_name = f"{name or f'paybell-{zlib.crc32(os.fsencode(home)):08x}'}@localhost"
            port = port or free_port()
            environment = furnish(home, server, full_name, port, cookie or secrets.token_hex(16))
            node = cls(server, home, port, environment, start_timeout_seconds)
            cleanup.callback(node.stop)
            node._launch()
            node._cleanup = cleanup.pop_all()
        atexit.register(node.close)
        return node

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The AMQP URL, with user, password and virtual host."""
        return f"amqp://guest:guest@{LOOPBACK}:{self.port}/%2f"

    @property
    def pid(self) -> int:
        """The process id of its Erlang virtual machine, the last one if it has ended."""
        return self._running.pid

    def stop(self) -> None:
        """Shut down in order (1 s), or kill after ``STOP_TIMEOUT_SECONDS``; the data stays for `restart`."""
        if self._process is None:  # it was never launched
            return
        self.resume()
        self._running.terminate()
        try:
            self._running.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def close(self) -> None:
        """Stop, and remove a temporary ``home``; closing again does nothing."""
        atexit.unregister(self.close)
        self._cleanup.close()

    def kill(self) -> None:
        """Crash: SIGKILL, no goodbye to anybody. Its helper processes end with it."""
        self._running.kill()
        self._running.wait()

    def restart(self) -> None:
        """Start again on the same data and port, after `kill`, after `stop`, or while it runs.

        Raises:
            Unavailable: see `start`.
        """
        self.stop()
        self._launch()

    def suspend(self) -> None:
        """Freeze (SIGSTOP): connections stay open and nothing answers, until `resume`."""
        self._running.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `suspend` (SIGCONT)."""
        self._running.send_signal(signal.SIGCONT)

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        assert self._process, "start() launches before it returns"
        return self._process

    def _launch(self) -> None:
        if not is_free(self.port):  # otherwise its owner would answer for us
            raise Unavailable(f"Port {self.port} is taken; RabbitMQ {self.name} was not started.")
        clock = SystemClock()
        deadline = clock.monotonic() + self._start_timeout_seconds
        log = self.home / "rabbitmq.log"
        with log.open("ab") as output:
            command = [str(self._server)]
            self._process = spawn(command, env=self._environment, cwd=self.home, stdout=output, stderr=output)
        while not answers(self.port):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_POLL_SECONDS)
            if self._process.returncode is None and clock.monotonic() < deadline:
                continue
            self.kill()
            said = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            raise Unavailable(
                f"RabbitMQ {self.name} did not start on port {self.port}. Its log ends:\n{said}"
            )


@contextmanager
def find_or_start(
    announce: Callable[[str], object], may_install: Callable[[str], bool] = only_in_ci
) -> Iterator[str]:
    """Yield the AMQP URL of the broker that ``PAYBELL_TEST_AMQP_URL`` names, else of a private node.

    Args:
        announce: told in one sentence what takes a while.
        may_install: answers the question whether a missing RabbitMQ may be installed.

    Raises:
        Misconfigured: there is no RabbitMQ here and it cannot be installed.
        Unavailable: the private node does not come up.
    """
    if url := os.environ.get(URL_VARIABLE):
        yield url
        return
    ensure_installed(announce, may_install)
    announce("Starting a private RabbitMQ; this takes a few seconds.")
    with RabbitmqNode.start() as node:
        yield node.url
