"""Several workers on one port: started, watched, replaced, stopped together."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping

import structlog

from paybell.settings import Settings

log = structlog.get_logger()
# A worker that dies at once, again and again, must not eat a core.
RESTART_WAIT_SECONDS = 1.0
STOP_SECONDS = 10.0


def run_workers(
    count: int, settings: Settings, urls: Mapping[str, str], roles: frozenset[str], listening: socket.socket
) -> int:
    """Keep ``count`` workers running until SIGTERM or SIGINT; return the exit code.

    The kernel hands each connection to one of them. All share the databases of this process; a
    pipe tells them when it dies.
    """
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    alive, ours = os.pipe()
    environment = os.environ | {
        "PAYBELL_DATABASE_URL": urls["pay"],
        "PAYBELL_TRADE_DATABASE_URL": urls["trade"],
        "PAYBELL_JWT_SECRET": settings.jwt_secret,
        "PAYBELL_PIN_PEPPER": settings.pin_pepper,
    }
    inherited = (listening.fileno(), alive)
    command = [sys.executable, "-m", "paybell", "serve", "--inherited", *map(str, inherited)]
    command += [argument for role in sorted(roles) for argument in ("--role", role)]

    def start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(command, env=environment, pass_fds=inherited)  # noqa: S603 - ourselves

    workers = [start() for _ in range(count)]
    while not stopping:
        for index, worker in enumerate(workers):
            if worker.poll() is not None and not stopping:
                log.error("worker_died", pid=worker.pid, exit_code=worker.returncode)
                workers[index] = start()
        time.sleep(RESTART_WAIT_SECONDS)
    os.close(ours)
    return _stop_all(workers)


def _stop_all(workers: list["subprocess.Popen[bytes]"]) -> int:
    deadline = time.monotonic() + STOP_SECONDS
    for worker in workers:
        worker.terminate()
    for worker in workers:
        try:
            worker.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
    return 0
