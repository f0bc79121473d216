"""Programs of the operating system that tests and the demo need, and how they get there when missing."""

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from paybell.errors import Misconfigured

# Some 50 packages from a slow mirror take minutes; longer is a mirror that hangs.
APT_TIMEOUT_SECONDS = 600.0
# Another apt may be at work on a machine that was just created.
_APT_LOCK_SECONDS = 120

_APT_GET = "/usr/bin/apt-get"
# Debian starts a service when it is installed, unless this file forbids it.
_POLICY = Path("/usr/sbin/policy-rc.d")
# One that is left behind by a killed process forbids nothing.
_POLICY_TEXT = """#!/bin/sh
# Paybell's, as long as process {pid} installs something.
kill -0 {pid} 2>/dev/null && exit 101
exit 0
"""
_OURS = re.compile(r"# Paybell's, as long as process (\d+) ")


@dataclass(frozen=True, slots=True)
class Program:
    """A program, the Debian packages that bring it, and what else a person can do to get it."""

    name: str
    find: Callable[[], Path | None]
    packages: tuple[str, ...]
    how_to_get_it: str


def only_in_ci(question: str) -> bool:
    """Answer whether packages may be installed where nobody can be asked: yes in CI."""
    del question
    return bool(os.environ.get("CI"))


def ensure_installed(
    program: Program,
    announce: Callable[[str], object],
    during: Callable[[], AbstractContextManager[None]] = nullcontext,
    *,
    may_install: Callable[[str], bool] = only_in_ci,
) -> Path:
    """Return where a program is; install it where we may: as root on a Debian-like machine, if told so.

    Args:
        program: what is needed.
        announce: told in one sentence what takes a while.
        during: surrounds the installation.
        may_install: answers the question whether these packages may be installed.

    Raises:
        Misconfigured: it is missing and could not be installed; each of the two steps has
            ``APT_TIMEOUT_SECONDS``, and the message says how to get it.
    """
    if found := program.find():
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Misconfigured(f"{program.name} is not installed: {program.how_to_get_it}.")
    packages = " ".join(program.packages)
    if not may_install(f"{program.name} is not installed. Install {packages} with apt-get?"):
        raise Misconfigured(
            f"{program.name} is not installed: {program.how_to_get_it}. To have it installed for you, add "
            "--yes to paybell demo, or set CI=1."
        )
    announce(f"Installing {packages} with apt-get, this takes a minute or two.")
    with _ended_in_order(), during():
        _apt_get("update")  # fails for one broken source of many; the install knows whether it mattered
        last_words = _apt_get("install", "-y", "--no-install-recommends", *program.packages)
    if found := program.find():
        return found
    raise Misconfigured(
        f"{program.name} cannot be installed: {program.how_to_get_it}. apt-get said: {last_words}"
    )


def _apt_get(*arguments: str) -> str:
    """Run apt-get and return the end of what it said."""
    with ExitStack() as stack:
        with _signals_held_back():
            process = stack.enter_context(
                subprocess.Popen(  # noqa: S603  # our own constants
                    [_APT_GET, "-o", f"DPkg::Lock::Timeout={_APT_LOCK_SECONDS}", *arguments],
                    env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                )
            )
            stack.callback(process.terminate)  # if it is still there; apt-get then ends in order
        try:
            said, _ = process.communicate(timeout=APT_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            return f"nothing within {APT_TIMEOUT_SECONDS:g} s"
    return " / ".join(said.splitlines()[-3:])


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)  # what a shell reports for the signal

    with _handling(end, signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Let signals wait for the end of the block: what is started in it is known by then, and ended too."""
    came: list[int] = []
    try:
        with _handling(lambda number, _: came.append(number), signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            yield
    finally:
        for number in came[:1]:
            signal.raise_signal(number)


@contextmanager
def _handling(handler: Callable[[int, object], object], *numbers: signal.Signals) -> Iterator[None]:
    """Handle these signals until the block ends; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)


@contextmanager
def services_not_started() -> Iterator[None]:
    """Keep packages from starting services of their own on the standard ports."""
    with suppress(OSError):
        left = _OURS.search(_POLICY.read_text())
        if left and not Path("/proc", left[1]).exists():
            _POLICY.unlink()
    try:
        with _POLICY.open("x") as policy:
            policy.write(_POLICY_TEXT.format(pid=os.getpid()))
            _POLICY.chmod(0o755)
    except FileExistsError:  # somebody has a policy already; it is theirs to keep
        yield
        return
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)
