"""Stops the embedded PostgreSQL when the last of its users was killed: a program, started by `embedded`.

What the kernel gives back however a process ends is its file locks. So this waits for the one that every
user shares, and whoever leaves in order has stopped the server before.
"""

import fcntl
import os
import sys
from pathlib import Path


def watch(home: Path, alive: Path, alone: int) -> None:
    """Wait until nobody uses the server of ``home``, stop it, and let the next watcher begin.

    Args:
        home: whose server it is.
        alive: the file that each user has locked together with the others.
        alone: descriptor of a lock that one watcher at a time has.
    """
    with alive.open("a") as users:
        fcntl.flock(users, fcntl.LOCK_EX)
        if (home / "postgres" / "postmaster.pid").exists():
            # Only now: until then this is an interpreter and nothing else.
            from paybell.storage.embedded_server import EmbeddedServer  # noqa: PLC0415

            EmbeddedServer(home).stop()
        os.close(alone)  # before anybody can use the server again, and look for a watcher


if __name__ == "__main__":
    if os.fork():  # nobody waits for the one that goes on
        os._exit(0)
    os.setsid()  # Ctrl-C is for others
    watch(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
