"""The folder in which the workers of one supervisor count, and what is left of those that were killed.

A folder is locked for as long as its supervisor or one of its workers lives, however they end.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from paybell.errors import NoTemporaryFolder

_PREFIX = "paybell-metrics-"


@contextmanager
def counts_folder() -> Iterator[tuple[str, int]]:
    """Make one, and remove those that nobody needs any more; yield it, and a descriptor for the workers.

    Raises:
        NoTemporaryFolder: there is no place for it.
    """
    path, lock = _locked_folder()
    _remove_left()
    try:
        yield path, lock
    finally:
        os.close(lock)
        shutil.rmtree(path, ignore_errors=True)


def _locked_folder() -> tuple[str, int]:
    while True:
        try:
            path = tempfile.mkdtemp(prefix=_PREFIX)
        except OSError as error:
            raise NoTemporaryFolder from error
        with suppress(
            FileNotFoundError
        ):  # another supervisor took it for one that was left, before it was locked
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_SH)
            if Path(path).exists():
                return path, lock
            os.close(lock)


def _remove_left() -> None:
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # somebody else's, or in use
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_uid == os.geteuid():
                    shutil.rmtree(path)
            finally:
                os.close(lock)
