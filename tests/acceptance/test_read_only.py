"""Where nothing can be written, as in a container with a read-only root: what works, and who says why not."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

import pytest
from serving import PEPPER_SETTING, SECRET, fresh_databases
from support import Databases

pytestmark = pytest.mark.slow

# Every mount but the kernel's own, in a namespace that ends with the command.
_READ_ONLY = """
awk '$2 !~ "^/(proc|sys|dev)" {print $2}' /proc/mounts | while read -r place; do
    mount -o remount,bind,ro "$place" || exit 77
done || exit 77
exec "$@"
"""
_UNSHARE = ("unshare", "--mount", "sh", "-c", _READ_ONLY, "sh")
SECONDS = 60.0


def can_be_made() -> bool:
    """Say whether we may make everything read-only for a command."""
    script = (*_UNSHARE, "sh", "-c", "! touch /tmp/paybell-writes 2> /dev/null")
    return subprocess.run(script, check=False, capture_output=True).returncode == 0  # noqa: S603


async def paybell(environment: Mapping[str, str], *arguments: str) -> tuple[int | None, str]:
    """Run a command where nothing can be written; a service is ended once it serves."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PAYBELL_")}
    process = await asyncio.create_subprocess_exec(
        *_UNSHARE,
        *(sys.executable, "-m", "paybell", *arguments),
        cwd="/",
        env=outer | dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    said = b""
    async with asyncio.timeout(SECONDS):
        while line := await process.stdout.readline():
            said += line
            if b"service_started" in line:
                process.terminate()
        await process.wait()
    return process.returncode, said.decode()


@pytest.fixture(scope="module", autouse=True)
def _makeable() -> None:
    if not can_be_made():
        pytest.skip("nobody here may make file systems read-only")


async def test_nothing_is_written_where_databases_and_secrets_are_given(postgres: Databases) -> None:
    urls = await fresh_databases(postgres)
    given = {
        "PAYBELL_DATABASE_URL": urls["pay"],
        "PAYBELL_TRADE_DATABASE_URL": urls["trade"],
        "PAYBELL_JWT_SECRET": SECRET,
        "PAYBELL_PIN_PEPPER": PEPPER_SETTING,
        "PAYBELL_PORT": "0",
    }
    code, said = await paybell(given, "migrate")
    assert code == 0, said
    commands: Sequence[Sequence[str]] = (
        ("serve",),
        ("token", "7"),
        ("doctor",),
        ("verify",),
        ("reconcile",),
        ("dead-letters", "list"),
    )
    for (code, said), command in zip(
        await asyncio.gather(*(paybell(given, *one) for one in commands)), commands, strict=True
    ):
        assert code == 0, (command, said)
        assert "Traceback" not in said
    code, said = await paybell(given, "serve", "--workers", "2")
    assert code == 1
    assert said.strip() == "paybell: No folder for temporary files can be written to; set TMPDIR to one."


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("serve",), "PAYBELL_HOME (.paybell) cannot be used: Read-only file system."),
        (("migrate",), "PAYBELL_HOME (/.paybell) cannot be used: Read-only file system."),
        (("token", "7"), "PAYBELL_HOME (.paybell) cannot be used: Read-only file system."),
        (("doctor",), "PAYBELL_HOME (.paybell) cannot be used: Read-only file system."),
        (("verify",), "PAYBELL_HOME (/.paybell) cannot be used: Read-only file system."),
        (("serve", "--workers", "2"), "PAYBELL_HOME (.paybell) cannot be used: Read-only file system."),
        (("demo",), "No folder for temporary files can be written to; set TMPDIR to one."),
    ],
)
async def test_what_must_write_says_so_in_a_sentence(command: Sequence[str], sentence: str) -> None:
    code, said = await paybell({}, *command)

    assert code == 1
    assert sentence in " ".join(said.split())
    assert "Traceback" not in said
