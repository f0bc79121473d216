"""What a private RabbitMQ node is made of: its files, its user, its ports, and the tie to our life."""

import atexit
import fcntl
import functools
import os
import pwd
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from paybell.errors import Misconfigured
from paybell.testing.ports import LOOPBACK, free_port
from paybell.testing.rabbitmq_install import SEARCH_PATH

# The Debian and RPM packages create it; RabbitMQ has no business being root.
_UNPRIVILEGED_USER = "rabbitmq"


def furnish(home: Path, server: Path, name: str, port: int, cookie: str) -> dict[str, str]:
    """Write a node's files and return the environment that makes RabbitMQ use these and no others.

    Raises:
        Misconfigured: the user the node runs as cannot write to ``home``.
    """
    secret = home / ".erlang.cookie"
    secret.unlink(missing_ok=True)
    secret.write_text(cookie)
    secret.chmod(0o400)
    user = unprivileged()
    if user:
        os.chown(home, user["user"], user["group"])
        os.chown(secret, user["user"], user["group"])
    if subprocess.run(["test", "-w", home], check=False, **user).returncode:  # noqa: S603, S607
        raise Misconfigured(f"The user {_UNPRIVILEGED_USER} cannot write to {home}; choose another home.")
    (home / "enabled_plugins").write_text("[].\n")
    # In a cluster the side of a partition that is fewer stops, instead of going on with books of its own.
    settings = ["vm_memory_high_watermark.relative = 0.4", "cluster_partition_handling = pause_minority"]
    (home / "rabbitmq.conf").write_text("\n".join([*settings, ""]))
    loopback_only = "-kernel inet_dist_use_interface {127,0,0,1}"
    environment = {
        "HOME": home,
        "LC_ALL": "C.UTF-8",
        "PATH": SEARCH_PATH,
        "ERL_CRASH_DUMP_SECONDS": 0,
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "ERL_EPMD_PORT": _epmd_port(),
        "RABBITMQ_ADVANCED_CONFIG_FILE": home / "advanced.config",
        "RABBITMQ_ALLOW_INPUT": 1,  # the script becomes the virtual machine instead of waiting for it
        "RABBITMQ_CONFIG_FILE": home / "rabbitmq.conf",
        "RABBITMQ_CONFIG_FILES": home / "conf.d",
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_CTL_ERL_ARGS": loopback_only,
        "RABBITMQ_DIST_PORT": free_port(),
        "RABBITMQ_ENABLED_PLUGINS_FILE": home / "enabled_plugins",
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_LOG_BASE": home,
        "RABBITMQ_MNESIA_BASE": home / "data",
        "RABBITMQ_NODENAME": name,
        "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
        "RABBITMQ_NODE_PORT": port,
        # Schedulers that spin for microseconds before they sleep: costs 0.3 % of a core while idle,
        # and a start in a virtual machine takes 4 s instead of the 10 to 20 s of the default, none.
        "RABBITMQ_SCHEDULER_BUSY_WAIT_THRESHOLD": "very_short",
        "RABBITMQ_SCHEDULER_BIND_TYPE": "u",  # several nodes would all bind to the same cores
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-noinput +S 2:2 {loopback_only}",
    }
    core = list((server.resolve().parent.parent / "plugins").glob("rabbit-[0-9]*"))
    if len(core) == 1:  # a start looks into every plugin it finds, enabled or not: about a second
        plugins = home / "plugins"
        plugins.mkdir(exist_ok=True)
        (plugins / "rabbit").unlink(missing_ok=True)
        (plugins / "rabbit").symlink_to(core[0])
        environment["RABBITMQ_PLUGINS_DIR"] = plugins
    return {variable: str(value) for variable, value in environment.items()}


def unprivileged() -> dict[str, Any]:
    """Return the arguments with which `subprocess` leaves root behind; none where there is no need."""
    if os.geteuid() != 0:
        return {}
    try:
        account = pwd.getpwnam(_UNPRIVILEGED_USER)
    except KeyError:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def spawn(command: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
    """Start a process that dies with ours (Linux) and does not get the terminal's Ctrl-C.

    The kernel kills it when the *thread* that started it ends, so it gets one that waits for it.

    Raises:
        OSError: there is no such program.
    """
    started: Future[subprocess.Popen[bytes]] = Future()
    setpriv = shutil.which("setpriv")
    tie = [setpriv, "--pdeathsig", "KILL"] if setpriv else []

    def start_and_wait() -> None:
        try:
            process = subprocess.Popen(  # noqa: S603  # our own constants
                [*tie, *command],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                **options,
                **unprivileged(),
            )
        except (OSError, subprocess.SubprocessError) as error:
            started.set_exception(error)
            return
        started.set_result(process)
        process.wait()

    threading.Thread(target=start_and_wait, name=f"waits for {command[0]}", daemon=True).start()
    return started.result()


@functools.cache
def _epmd_port() -> int:
    """Start the name service of our nodes and return its port.

    Without one of our own the first node would leave a daemon behind, and a broker that somebody
    starts later would find itself registered there, on the loopback only.
    """
    port = free_port()
    epmd = spawn(["epmd", "-port", str(port), "-address", LOOPBACK], env={"PATH": SEARCH_PATH})
    atexit.register(epmd.kill)
    return port


@contextmanager
def occupied(home: Path) -> Iterator[None]:
    """Keep a second node off the folder; the kernel forgets it with our process.

    Raises:
        Misconfigured: another node uses the folder.
    """
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Misconfigured(f"Another RabbitMQ node runs in {home}.") from error
        yield


def answers(port: int) -> bool:
    """Tell whether AMQP's greeting is answered with Connection.Start, within a second."""
    with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1) as connection:
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        frame = connection.recv(11, socket.MSG_WAITALL)
        return frame[:1] == b"\x01" and frame[7:] == b"\x00\x0a\x00\x0a"
    return False
