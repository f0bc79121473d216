"""Where the programs of RabbitMQ are, and how they get there when they are missing."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from paybell.testing import system_packages

URL_VARIABLE = "PAYBELL_TEST_AMQP_URL"
# The Debian and RPM packages put a wrapper into /usr/sbin that insists on their own folders.
_PACKAGED_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")

SEARCH_PATH = os.pathsep.join(
    [os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"]
)


def find_server() -> Path | None:
    """Return the script that starts RabbitMQ, or None where it is not installed."""
    if _PACKAGED_SERVER.exists():
        return _PACKAGED_SERVER
    found = shutil.which("rabbitmq-server", path=SEARCH_PATH)
    return Path(found) if found else None


_SERVER = system_packages.Program(
    "RabbitMQ",
    find_server,
    ("rabbitmq-server",),
    "install it (`apt-get install rabbitmq-server` as root, or `brew install rabbitmq`) "
    f"or set {URL_VARIABLE} to the URL of a running one",
)


def ensure_installed(
    announce: Callable[[str], object], may_install: Callable[[str], bool] = system_packages.only_in_ci
) -> None:
    """Install rabbitmq-server where it is missing and we may; see `system_packages.ensure_installed`.

    Raises:
        Misconfigured: it is missing and could not be installed.
    """
    system_packages.ensure_installed(
        _SERVER, announce, system_packages.services_not_started, may_install=may_install
    )
