"""A private RabbitMQ: ours to start, crash, freeze, block and cluster, beside anybody else's broker.

A node has its own data, ports, cookie and configuration, answers on the loopback only, and dies
with the process that started it. For the demo, tests and benchmarks; never for production.
"""

import atexit
import fcntl
import functools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Self

from paybell.clock import SystemClock
from paybell.errors import Misconfigured, Unavailable
from paybell.messaging.rabbitmq_install import SEARCH_PATH, URL_VARIABLE, ensure_installed, find_server

# A start takes 3 to 5 s on two cores; ten times that is a machine that cannot run it.
START_TIMEOUT_SECONDS = 60.0
# A stop takes 1 s; a node still running after this is killed, which loses nothing that was confirmed.
STOP_TIMEOUT_SECONDS = 10.0
# rabbitmqctl starts a virtual machine of its own (1 s); joining a cluster starts the broker again.
CTL_TIMEOUT_SECONDS = 60.0
# How often a starting node is asked whether it answers.
_POLL_SECONDS = 0.05
_LOOPBACK = "127.0.0.1"
# Below the ports the kernel hands to clients (Linux: from 32768): a client that reconnects while the
# node is down could be given the node's own port, connect to itself, and keep the node from it.
_PORTS = range(20_000, 32_000)
_UNPRIVILEGED_USER = "rabbitmq"

Alarm = Literal["memory", "disk"]
_RAISE: Mapping[Alarm, Sequence[str]] = {
    "memory": ("set_vm_memory_high_watermark", "0.0000001"),
    "disk": ("set_disk_free_limit", "1000000GB"),
}
_CLEAR: Mapping[Alarm, Sequence[str]] = {
    "memory": ("set_vm_memory_high_watermark", "0.4"),
    "disk": ("set_disk_free_limit", "50MB"),
}


class RabbitmqNode:
    """One RabbitMQ node, from `start` to `close`; as a context manager it closes itself."""

    def __init__(self, home: Path, port: int, name: str, start_timeout_seconds: float) -> None:
        """Use `RabbitmqNode.start`."""
        self.home = home
        self.port = port
        self.name = f"{name}@localhost"
        self._start_timeout_seconds = start_timeout_seconds
        self._log = home / "rabbitmq.log"
        self._environment: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = ExitStack()

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
            Unavailable: the node died or did not answer in time; the message ends with its log.
        """
