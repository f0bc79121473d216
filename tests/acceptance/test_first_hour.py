"""From an empty machine: a fresh clone, no home, nothing of this environment; what the pages say, typed."""

import asyncio
import os
import re
import shutil
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import pytest

from paybell.testing.ports import free_port
from paybell.testing.rabbitmq_install import ensure_installed as ensure_rabbitmq
from paybell.testing.system_packages import Program, ensure_installed

ROOT = Path(__file__).parents[2]
CURL = Program(
    "curl",
    lambda: Path(found) if (found := shutil.which("curl")) else None,
    ("curl",),
    "install it (`apt-get install curl` as root)",
)
# What `make` installs comes over the network, on a machine that others use too.
SECONDS = 600.0
_BLOCK = re.compile(r"^```(\w+)(?: title=\"([\w.]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_DONE, _THEN = "what was typed is done", "\necho "


class Terminal:
    """A shell that knows nothing of ours; what is typed is kept with the seconds it took."""

    def __init__(self, shell: asyncio.subprocess.Process) -> None:
        """Use `open`."""
        self._shell = shell
        self.typed: list[tuple[float, str]] = []

    @classmethod
    @asynccontextmanager
    async def open(cls, home: Path, folder: Path, **more: str) -> AsyncIterator[Self]:
        """Open one in a folder; what was started in it ends with it."""
        shell = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail"),
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(home), **more},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield cls(shell)
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                if await cls._ended(shell.pid, number):
                    break

    @staticmethod
    async def _ended(group: int, number: signal.Signals) -> bool:
        """Signal everything that was started there; return whether it is gone half a minute later."""
        deadline = time.monotonic() + 30
        try:
            os.killpg(group, number)
            while time.monotonic() < deadline:
                os.killpg(group, 0)
                await asyncio.sleep(0.05)
        except ProcessLookupError:
            return True
        return False

    async def start(self, command: str, *, until: str) -> str:
        """Type something, wait for a line with these words, and return what was said up to it."""
        assert self._shell.stdin is not None
        begun = time.monotonic()
        self._shell.stdin.write(f"{command}\n".encode())
        said = await self._said(until)
        self.typed.append((time.monotonic() - begun, command.partition(_THEN)[0]))
        return said

    async def type(self, commands: str) -> str:
        """Type something, wait until it has ended well, and return what it said."""
        return await self.start(f"{commands.rstrip()}{_THEN}'{_DONE}'", until=_DONE)

    async def _said(self, words: str) -> str:
        """Return what it says up to a line with these words."""
        assert self._shell.stdout is not None
        said = ""
        try:
            async with asyncio.timeout(SECONDS):
                while words not in said:
                    line = await self._shell.stdout.readline()
                    assert line, f"the shell has ended:\n{said}"
                    said += line.decode()
        except TimeoutError:
            pytest.fail(f"not within {SECONDS:g} s:\n{said}")
        return said

    def report(self) -> str:
        """Return what was typed, each with its seconds."""
        return "\n".join(f"{seconds:7.1f} s  {line}" for seconds, line in self.typed)


@pytest.mark.slow
@pytest.mark.rabbitmq
async def test_from_an_empty_machine_to_a_payment_and_through_the_tutorial(home: Path) -> None:
    """Every line of README's *Use it* and of the tutorial, as it stands; only the port is the test's."""
    ensure_installed(CURL, print)
    ensure_rabbitmq(print)
    port = free_port()

    print(await _first_payment(home, port))  # noqa: T201
    print(await _tutorial(home, port))  # noqa: T201


async def _first_payment(home: Path, port: int) -> str:
    """Type what README says, in the two shells it names; return the seconds."""
    begun = time.monotonic()
    async with Terminal.open(home, home, PAYBELL_PORT=str(port)) as first:
        await first.type(f"git clone --quiet {ROOT} paybell")
        await first.type("cd paybell")
        section = (home / "paybell" / "README.md").read_text().partition("## Use it")[2].partition("\n## ")[0]
        lines = re.findall("^    (.+)$", section.replace("localhost:8000", f"localhost:{port}"), re.MULTILINE)
        assert lines.pop(0) == "make serve"
        await first.start("make serve", until=f"Paybell listens on http://127.0.0.1:{port}")
        said = ""
        async with Terminal.open(home, home / "paybell") as second:
            for line in lines:
                number = re.findall(r'"payOrderId":"(\d+)"', said)[-1:]  # read off the answer before
                said += await second.type(line.replace("PAY_ORDER_ID", *number) if number else line)
            total = f"{time.monotonic() - begun:7.1f} s from git clone to a payment of one's own"
    assert '"TRADE_SUCCESS"' in said
    assert re.search('"orderId":"1001".*"PAID"|"id":"1001".*"PAID"', said)
    assert f"http://localhost:{port}/cashier/1001#token=ey" in said
    return f"{first.report()}\n{second.report()}\n{total}"


async def _tutorial(home: Path, port: int) -> str:
    """Type every command of the tutorial, save its program, check what it claims; return the seconds."""
    clone = home / "paybell"
    text = (clone / "docs" / "tutorial.md").read_text().replace("localhost:8000", f"localhost:{port}")
    said = ""
    async with Terminal.open(home, clone, PAYBELL_PORT=str(port)) as terminal:
        for language, title, body in _BLOCK.findall(text):
            assert language in {"sh", "python"}, language
            if language == "python":
                (home / "points" / title).write_text(body)
            else:
                said += await terminal.type(body)
        await terminal.type("wait  # for what was started, until all is cleaned up")
    assert "0 lost, 0 duplicated; the books balance" in said
    paid = re.findall(r'"payOrderId":"(\d+)".*"TRADE_SUCCESS"', said)
    assert len(paid) == 2
    assert paid[0] == paid[1]  # paying again answers the same
    return terminal.report()
