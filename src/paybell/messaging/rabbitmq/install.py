"""Where the programs of RabbitMQ are, and how they get there when they are missing."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from paybell.errors import Misconfigured

URL_VARIABLE = "PAYBELL_TEST_AMQP_URL"
# Some 50 packages (Erlang) from a slow mirror take minutes; longer is a mirror that hangs.
APT_TIMEOUT_SECONDS = 600.0
# Another apt may be at work on a machine that was just created.
_APT_LOCK_SECONDS = 120
# Debian starts a service when it is installed, unless this file forbids it.
_POLICY = Path("/usr/sbin/policy-rc.d")
# The Debian and RPM packages put a wrapper into /usr/sbin that insists on their own folders.
_PACKAGED_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_HOW_TO_GET_IT = (
    "install it (`apt-get install rabbitmq-server` as root, or `brew install rabbitmq`) "
    f"or set {URL_VARIABLE} to the URL of a running one"
)

SEARCH_PATH = os.pathsep.join(
    [os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"]
)


def find_server() -> Path | None:
    """Return the script that starts RabbitMQ, or None where it is not installed."""
    if _PACKAGED_SERVER.exists():
        return _PACKAGED_SERVER
    found = shutil.which("rabbitmq-server", path=SEARCH_PATH)
    return Path(found) if found else None


def ensure_installed(announce: Callable[[str], object]) -> None:
    """Install rabbitmq-server where it is missing and we may: as root on a Debian-like machine.

    Args:
        announce: told in one sentence what takes a while.

    Raises:
        Misconfigured: it is missing and could not be installed; each of the two steps has
            ``APT_TIMEOUT_SECONDS``, and the message says how to get it.
    """
    if find_server():
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Misconfigured(f"RabbitMQ is not installed: {_HOW_TO_GET_IT}.")
    announce(
        "RabbitMQ is not installed; installing rabbitmq-server with apt-get, this takes a minute or two."
    )
    with _services_not_started():
        _apt_get("update")  # fails for one broken source of many; the install knows whether it mattered
        last_words = _apt_get("install", "-y", "--no-install-recommends", "rabbitmq-server")
    if not find_server():
        raise Misconfigured(f"RabbitMQ cannot be installed: {_HOW_TO_GET_IT}. apt-get said: {last_words}")


def _apt_get(*arguments: str) -> str:
    """Run apt-get and return the end of what it said."""
    try:
        done = subprocess.run(  # noqa: S603  # our own constants
            ["/usr/bin/apt-get", "-o", f"DPkg::Lock::Timeout={_APT_LOCK_SECONDS}", *arguments],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=APT_TIMEOUT_SECONDS,
            check=False,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return f"nothing within {APT_TIMEOUT_SECONDS:g} s"
    return " / ".join(done.stdout.splitlines()[-3:])


@contextmanager
def _services_not_started() -> Iterator[None]:
    """Keep the package from starting a broker of its own on the standard port."""
    try:
        with _POLICY.open("x") as policy:
            policy.write("#!/bin/sh\nexit 101\n")
            _POLICY.chmod(0o755)
    except FileExistsError:  # somebody has a policy already; it is theirs to keep
        yield
        return
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)
