"""Processes of a measurement: started, told to go, asked what they cost, stopped."""

import asyncio
import os
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psutil

START_SECONDS = 60.0
RESULT_SECONDS = 600.0
_STOP_SECONDS = 15.0
_Entered = TypeVar("_Entered")
_ROOT = Path(__file__).parents[1]


class Failed(Exception):
    """A process did not do what it was started for; what it said last is in the message."""


class Child:
    """A module of ours that says when it is ready, goes when told to, and answers with a result."""

    def __init__(self, name: str, process: Process) -> None:
        """Use `child`."""
        self._name = name
        self._process = process

    @property
    def alive(self) -> bool:
        """Say whether it can do more work."""
        return self._process.returncode is None

    async def prepare(self, spec: Mapping[str, object]) -> None:
        """Say what is to be done and wait until everything is prepared for it."""
        self._write(msgspec.json.encode(spec) + b"\n")
        await self._answer(START_SECONDS)

    def go(self) -> None:
        """Let the measured part begin."""
        self._write(b"go\n")

    async def run(self) -> dict[str, Any]:
        """Let the measured part begin and wait for its answer."""
        self.go()
        return await self.result()

    async def result(self) -> dict[str, Any]:
        """Wait for the answer."""
        return await self._answer(RESULT_SECONDS)

    def _write(self, line: bytes) -> None:
        assert self._process.stdin, "it was piped"
        self._process.stdin.write(line)

    async def _answer(self, seconds: float) -> dict[str, Any]:
        assert self._process.stdout, "it was piped"
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), seconds)
        except TimeoutError:
            raise Failed(f"{self._name}: no answer within {seconds:g} s") from None
        if not line.endswith(b"\n"):
            raise Failed(
                f"{self._name} ended with {await self._process.wait()} after {len(line)} bytes {line[-60:]!r}"
            )
        answer: dict[str, Any] = msgspec.json.decode(line)
        return answer


@asynccontextmanager
async def child(module: str, *arguments: str) -> AsyncIterator[Child]:
    """Start ``python -m module``, which does as `benchmarks.child.serve` says, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdin=PIPE, stdout=PIPE, cwd=_ROOT, limit=2**26
    )
    try:
        yield Child(f"{module} {' '.join(arguments)}", process)
    finally:
        await _stop(process)


@asynccontextmanager
async def server(
    command: Sequence[str], environment: Mapping[str, str], *, started: str, times: int = 1
) -> AsyncIterator[int]:
    """Run a service until the block ends; yield its pid once its log says ``started`` often enough."""
    inner = {name: value for name, value in os.environ.items() if not name.startswith("PAYBELL_")}
    inner |= environment
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        env=inner,
        cwd=_ROOT,
    )
    said: list[bytes] = []
    up = asyncio.Event()
    reading = asyncio.create_task(_read(process, said, up, started.encode(), times))
    waiting = asyncio.create_task(up.wait())
    try:
        await asyncio.wait([waiting, reading], timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not up.is_set():
            raise Failed(f"{' '.join(command)} did not start: {b''.join(said[-20:]).decode()}")
        yield process.pid
        if process.returncode is not None:
            raise Failed(f"{' '.join(command)} ended by itself: {b''.join(said[-20:]).decode()}")
    finally:
        waiting.cancel()
        await _stop(process)
        await reading


@asynccontextmanager
async def together(*contexts: AbstractAsyncContextManager[_Entered]) -> AsyncIterator[list[_Entered]]:
    """Enter several at the same time: starting a process takes longer than many a measurement."""
    async with AsyncExitStack() as stack:
        yield await asyncio.gather(*(stack.enter_async_context(one) for one in contexts))


async def _read(process: Process, said: list[bytes], up: asyncio.Event, started: bytes, times: int) -> None:
    assert process.stdout, "it was piped"
    while line := await process.stdout.readline():
        said.append(line)
        del said[:-50]
        times -= started in line
        if times == 0:
            up.set()


async def _stop(process: Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    one = psutil.Process(pid)
    return [pid, *(descendant.pid for descendant in one.children(recursive=True))]


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU these processes have used, to the microsecond where the kernel tells."""
    return sum(_cpu_of(pid) for pid in pids)


def _cpu_of(pid: int) -> float:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except (OSError, ValueError, IndexError):
        pass
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def postgres_cpu(postmaster: int) -> dict[str, float]:
    """Return PostgreSQL's CPU by the user its backends serve; its own processes under ``background``."""
    spent: dict[str, float] = {}
    for process in psutil.Process(postmaster).children():
        with suppress(psutil.NoSuchProcess):
            words = " ".join(process.cmdline()).split()
            served = words[1] if words[-1:] and "[local]" in words else "background"
            spent[served] = spent.get(served, 0.0) + _cpu_of(process.pid)
    return spent


def cpu_with_ended(pid: int) -> float:
    """Return the CPU of a process and its children, also of those that have ended: to 10 ms."""
    children = [child.pid for child in psutil.Process(pid).children()]
    times = psutil.Process(pid).cpu_times()
    return cpu_seconds([pid, *children]) + float(times.children_user + times.children_system)


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds so far of a service's processes, of PostgreSQL for it, and of RabbitMQ."""

    python: float
    postgres: float
    broker: float

    def micros(self, before: "Spent", count: int) -> "Spent":
        """Return the microseconds for each of so many payments since then."""
        each = 1e6 / count
        return Spent(
            (self.python - before.python) * each,
            (self.postgres - before.postgres) * each,
            (self.broker - before.broker) * each,
        )

    @property
    def total(self) -> float:
        """All three together."""
        return self.python + self.postgres + self.broker


def nothing_spent() -> Spent:
    """Return no CPU, where it is not to be told."""
    return Spent(0.0, 0.0, 0.0)


def peak_mb(pid: int) -> float:
    """Return the most memory a process has held at once (VmHWM), in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


async def until_quiet(pids: Iterable[int], *, share: float = 0.1, seconds: float = 3.0) -> None:
    """Wait until these processes rest: what one measurement left behind must not burden the next."""
    watched, deadline = list(pids), time.monotonic() + seconds
    while time.monotonic() < deadline:
        before = cpu_seconds(watched)
        await asyncio.sleep(0.1)
        if cpu_seconds(watched) - before < share * 0.1:
            return
