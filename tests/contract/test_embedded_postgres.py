"""The embedded PostgreSQL comes back after whatever ended it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import connected, until

from paybell.storage.embedded import embedded_postgres

pytestmark = pytest.mark.slow


def children_of(pid: str) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def lives(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()


@contextmanager
def somebody_else() -> Iterator[int]:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        yield process.pid
        process.kill()


async def test_a_killed_server_starts_again_although_its_number_is_somebody_elses(tmp_path: Path) -> None:
    """As after the restart of a container, where numbers begin anew."""
    with embedded_postgres(tmp_path) as urls:
        async with connected(urls["paybell_pay"]) as rows:
            await rows.execute("CREATE TABLE kept AS SELECT 7 AS number")
        pid_file = tmp_path / "postgres" / "postmaster.pid"
        postmaster, *rest = pid_file.read_text().splitlines()
        children = children_of(postmaster)
        os.kill(int(postmaster), signal.SIGKILL)

        async def gone() -> bool:
            return not any(map(lives, children))

        await until(gone)
        with somebody_else() as pid:
            for lock in (pid_file, Path(f"{rest[3]}/.s.PGSQL.{rest[2]}.lock")):
                lock.write_text("\n".join([str(pid), *rest, ""]))

            with embedded_postgres(tmp_path) as again:
                async with connected(again["paybell_pay"]) as rows:
                    assert await rows.fetchval("SELECT number FROM kept") == 7
