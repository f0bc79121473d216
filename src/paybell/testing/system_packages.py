"""Programs of the operating system that tests and the demo need, and how they get there when missing."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from paybell.errors import Misconfigured

# Some 50 packages from a slow mirror take minutes; longer is a mirror that hangs.
APT_TIMEOUT_SECONDS = 600.0
# Another apt may be at work on a machine that was just created.
_APT_LOCK_SECONDS = 120

# Debian starts a service when it is installed, unless this file forbids it.
_POLICY = Path("/usr/sbin/policy-rc.d")


@dataclass(frozen=True, slots=True)
class Program:
    """A program, the Debian packages that bring it, and what else a person can do to get it."""

    name: str
    find: Callable[[], Path | None]
    packages: tuple[str, ...]
    how_to_get_it: str


def ensure_installed(
    program: Program,
    announce: Callable[[str], object],
    during: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Path:
    """Return where a program is; install it where we may: as root on a Debian-like machine.

    Args:
        program: what is needed.
        announce: told in one sentence what takes a while.
        during: surrounds the installation.

    Raises:
        Misconfigured: it is missing and could not be installed; each of the two steps has
            ``APT_TIMEOUT_SECONDS``, and the message says how to get it.
    """
    if found := program.find():
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Misconfigured(f"{program.name} is not installed: {program.how_to_get_it}.")
    announce(
        f"{program.name} is not installed; installing {' '.join(program.packages)} with apt-get, "
        "this takes a minute or two."
    )
    with during():
        _apt_get("update")  # fails for one broken source of many; the install knows whether it mattered
        last_words = _apt_get("install", "-y", "--no-install-recommends", *program.packages)
    if found := program.find():
        return found
    raise Misconfigured(
        f"{program.name} cannot be installed: {program.how_to_get_it}. apt-get said: {last_words}"
    )


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
def services_not_started() -> Iterator[None]:
    """Keep packages from starting services of their own on the standard ports."""
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
