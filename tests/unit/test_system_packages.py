"""Programs of the system are installed only if somebody agreed, and nothing is left behind by it."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from paybell.errors import Misconfigured
from paybell.testing import system_packages
from paybell.testing.system_packages import Program, ensure_installed, only_in_ci

MISSING = Program("Nothing", lambda: None, ("nothing",), "it is a test's")
INSTALLING = """
import os, sys
from pathlib import Path
from paybell.testing import system_packages
from paybell.testing.system_packages import Program, ensure_installed, services_not_started
os.geteuid = lambda: 0
system_packages.shutil.which = lambda _: "apt-get"
system_packages._APT_GET, policy = sys.argv[1:]
system_packages._POLICY = Path(policy)
missing = Program("X", lambda: None, ("x",), "")
ensure_installed(missing, print, services_not_started, may_install=lambda _: True)
"""


ENDED_AT_ONCE = """
import os, signal, subprocess, sys
from pathlib import Path
class Ended(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        while not Path(sys.argv[1]).with_name("pid").exists():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
subprocess.Popen = Ended
"""


@pytest.fixture
def installing(tmp_path: Path) -> "subprocess.Popen[bytes]":
    """Return a process that is in the middle of an installation."""
    process = begun(tmp_path, INSTALLING)
    while not (tmp_path / "pid").exists():
        assert process.poll() is None
    return process


def begun(tmp_path: Path, program: str) -> "subprocess.Popen[bytes]":
    """Begin an installation whose apt-get is a script of the test's."""
    apt_get = tmp_path / "apt-get"
    lines = ["#!/bin/sh", "cd ${0%/*}", "echo $$ > new", "mv new pid", "exec sleep 600", ""]
    apt_get.write_text("\n".join(lines))
    apt_get.chmod(0o755)
    return subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-c", program, apt_get, tmp_path / "policy-rc.d"], stdout=subprocess.DEVNULL
    )


def is_forbidden(policy: Path) -> bool:
    return subprocess.run([policy], check=False).returncode == 101  # noqa: S603 - as invoke-rc.d does


def test_an_installation_that_is_ended_leaves_nothing_behind(
    installing: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    assert is_forbidden(tmp_path / "policy-rc.d")
    installing.send_signal(signal.SIGTERM)

    assert installing.wait(30) == 128 + signal.SIGTERM
    assert not (tmp_path / "policy-rc.d").exists()
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_an_installation_that_is_ended_as_it_begins_is_ended_too(tmp_path: Path) -> None:
    """Between the start of apt-get and its being known to whoever waits for it."""
    process = begun(tmp_path, ENDED_AT_ONCE + INSTALLING)

    assert process.wait(30) == 128 + signal.SIGTERM
    assert not (tmp_path / "policy-rc.d").exists()
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_what_a_killed_installation_leaves_behind_forbids_nothing_and_is_removed(
    installing: "subprocess.Popen[bytes]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installing.kill()
    installing.wait()
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    policy = tmp_path / "policy-rc.d"

    assert policy.exists()
    assert not is_forbidden(policy)
    monkeypatch.setattr(system_packages, "_POLICY", policy)
    with system_packages.services_not_started():
        assert is_forbidden(policy)
    assert not policy.exists()


def test_somebody_elses_policy_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    monkeypatch.setattr(system_packages, "_POLICY", policy)
    with system_packages.services_not_started():
        pass

    assert policy.read_text() == "#!/bin/sh\nexit 101\n"


def test_nothing_is_installed_unless_somebody_agreed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda _: "apt-get")
    monkeypatch.setattr(system_packages, "_apt_get", lambda *_: pytest.fail("it was installed"))
    asked: list[str] = []

    def no(question: str) -> bool:
        asked.append(question)
        return False

    with pytest.raises(Misconfigured, match="--yes"):
        ensure_installed(MISSING, print, may_install=no)
    assert asked == ["Nothing is not installed. Install nothing with apt-get?"]
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(Misconfigured, match="CI=1"):
        ensure_installed(MISSING, print)


def test_ci_counts_as_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert only_in_ci("?")
