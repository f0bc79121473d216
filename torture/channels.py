"""The channels of a stack: simulators with books of their own, a line to them, and what goes wrong there.

The simulators' process keeps its books in memory, which no real channel would lose: that it dies is that
all its connections end, and each new one, until it is back.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from paybell.channels.pace import faster
from paybell.cli.demo_books import Books
from paybell.clock import SystemClock
from paybell.errors import Unavailable
from paybell.sandbox.setup import Setup
from paybell.settings import read_settings
from paybell.testing.ports import LOOPBACK, free_port
from torture.proxy import Line, line

if TYPE_CHECKING:
    from torture.stack import Stack

NAMES = ("alipay", "wechat", "stripe")
# How much faster than in production what is in doubt is asked about.
_PACE = 20
_CALLS = ("open", "query", "close", "refund")
_STRUCK_MOST = 8
# A tenth of a second each.
_START_TRIES = 600


@dataclass(frozen=True, slots=True)
class Channels:
    """The simulators; ``url`` leads to them without the line between."""

    url: str
    line: Line
    settings: Mapping[str, str | float]
    session: aiohttp.ClientSession
    process: "subprocess.Popen[bytes]"

    async def ready(self) -> None:
        """Wait until they serve.

        Raises:
            Unavailable: they do not.
        """
        for _ in range(_START_TRIES):
            with suppress(aiohttp.ClientError):
                await self.books()
                return
            await asyncio.sleep(0.1)
        raise Unavailable("The simulators do not serve; see channels/sandbox.log.")

    async def order(self, channel: str, fault: Mapping[str, object]) -> None:
        """Have something go wrong there."""
        async with self.session.post(f"/sandbox/{channel}/faults", json=fault) as answer:
            answer.raise_for_status()

    async def heal(self) -> None:
        """Let everything go right from now on."""
        self.process.send_signal(signal.SIGCONT)
        for name in NAMES:
            async with self.session.delete(f"/sandbox/{name}/faults"):
                pass

    async def books(self) -> Mapping[str, Books]:
        """Return what really moved, by channel."""
        found = dict[str, Books]()
        for name in NAMES:
            async with self.session.get(f"/sandbox/{name}/books") as answer:
                found[name] = await answer.json()
        return found

    async def pay_what_is_open(self) -> None:
        """Let the last buyers pay, so that no window is left that ends in hours only."""
        for name, trades in (await self.books()).items():
            for number, trade in trades.items():
                if trade["state"] == "OPEN":
                    async with self.session.post(f"/sandbox/{name}/payments", json={"number": number}):
                        pass


@asynccontextmanager
async def running_channels(home: Path, notify_port: int) -> AsyncIterator[Channels]:
    """Run the simulators in a process of their own; they send notices to this port.

    Raises:
        Unavailable: they do not start.
    """
    setup, port = Setup(home / "sandbox", SystemClock()), free_port()
    url, notify_url = f"http://{LOOPBACK}:{port}", f"http://{LOOPBACK}:{notify_port}"
    process = _start(home, port, notify_url)
    try:
        async with line("channels", port) as way, aiohttp.ClientSession(url) as session:
            there = f"http://{LOOPBACK}:{way.port}"
            settings = {**setup.settings(there, notify_url), **faster(read_settings({}), _PACE)}
            channels = Channels(url, way, settings, session, process)
            await channels.ready()
            yield channels
    finally:
        process.kill()
        process.wait()


def _start(home: Path, port: int, notify_url: str) -> "subprocess.Popen[bytes]":
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PAYBELL_")}
    with (home / "sandbox.log").open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "paybell", "sandbox", "--port", str(port), "--notify-url", notify_url],
            env=outer | {"PAYBELL_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for us
        )


async def kill_channels(stack: "Stack", dice: random.Random) -> str:
    """Have them die, and come back."""
    seconds = dice.uniform(0.5, 3.0)
    stack.channels.line.kill()
    await asyncio.sleep(seconds)
    stack.channels.line.heal()
    return f"for {seconds:.1f} s"


async def freeze_channels(stack: "Stack", dice: random.Random) -> str:
    """Have them answer nothing for a while, longer than a call waits at times."""
    seconds = dice.choice([dice.uniform(0.5, 3.0), 12.0])
    stack.channels.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    stack.channels.process.send_signal(signal.SIGCONT)
    return f"for {seconds:.1f} s"


def strike(*faults: str) -> Callable[["Stack", random.Random], Awaitable[str]]:
    """Return what has some calls meet one of these faults."""

    async def act(stack: "Stack", dice: random.Random) -> str:
        channel, fault = dice.choice(NAMES), dice.choice(faults)
        for operation in _CALLS:
            times = dice.randint(1, _STRUCK_MOST)
            await stack.channels.order(channel, {"operation": operation, "fault": fault, "times": times})
        await asyncio.sleep(dice.uniform(0.5, 2.0))
        return f"{channel} {fault}"

    return act


async def disorder_notices(stack: "Stack", dice: random.Random) -> str:
    """Have notices come late, twice, or not at all."""
    channel = dice.choice(NAMES)
    for fault in ("delay", "duplicate", "drop"):
        times = dice.randint(1, _STRUCK_MOST)
        notice = {"operation": "notice", "fault": fault, "times": times, "seconds": dice.uniform(0.5, 3.0)}
        await stack.channels.order(channel, notice)
    await asyncio.sleep(dice.uniform(0.5, 2.0))
    return channel
