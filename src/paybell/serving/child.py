"""Paybell as a child process: started for a demo or a replay, watched, and stopped with it."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp

from paybell.clock import Clock
from paybell.environment.reading import variables_of
from paybell.errors import Misconfigured, Unavailable
from paybell.settings import Settings
from paybell.testing.ports import free_port

# An embedded PostgreSQL that was killed replays its log first, which is tried for up to a minute.
START_SECONDS = 90.0
# The service grants itself 10 s to finish what it has begun.
STOP_SECONDS = 15.0
_POLL_SECONDS = 0.02
_LOG_TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Service:
    """A running service; ``started`` is the clock's monotonic second its process was started in."""

    url: str
    pid: int
    started: float


@asynccontextmanager
async def running_service(
    settings: Settings, clock: Clock, *roles: str, port: int | None = None
) -> AsyncIterator[Service]:
    """Run ``paybell serve`` under these settings on this loopback port, or a free one, until the block ends.

    Without ``roles`` it has all of them, and whatever PAYBELL_PAY_URL says it is its own pay service.

    Its log goes to ``service.log`` in ``PAYBELL_HOME``. SIGTERM and SIGHUP end the block as
    Ctrl-C does, so that the child never outlives its parent's orderly end.

    Raises:
        Misconfigured: it did not start; the sentence is its own.
        Unavailable: it was not ready in time, or ended while it was needed.
    """
    settings = replace(settings, host="127.0.0.1", port=port or free_port())
    if not roles:
        settings = replace(settings, pay_url="")
    log = settings.home / "service.log"
    url = f"http://{settings.host}:{settings.port}"
    started = clock.monotonic()
    process = await _start(settings, log, roles)
    with _ended_by_signals():
        try:
            await _until_ready(url, process, log, clock)
            yield Service(url, process.pid, started)
        except Unavailable as error:
            if process.returncode is None:
                raise
            raise Unavailable(
                f"The service ended by itself with exit code {process.returncode} ({_last_line(log)})."
            ) from error
        finally:
            await _stop(process)


async def _start(settings: Settings, log: Path, roles: Sequence[str]) -> Process:
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        output = log.open("ab")
    except OSError as error:
        raise Misconfigured(f"PAYBELL_HOME ({settings.home}) cannot be used: {error.strerror}.") from error
    with output:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "paybell",
            "serve",
            *(argument for role in roles for argument in ("--role", role)),
            env=_environment(settings),
            stdin=DEVNULL,
            stdout=output,
            stderr=STDOUT,
            start_new_session=True,  # Ctrl-C is for us; we stop the service when we are done with it
        )


def _environment(settings: Settings) -> Mapping[str, str]:
    """Return our environment with exactly these settings; no ``PAYBELL_`` of the outer one is left."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PAYBELL_")}
    return outer | variables_of(settings)


async def _until_ready(url: str, process: Process, log: Path, clock: Clock) -> None:
    deadline = clock.monotonic() + START_SECONDS
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0)) as session:
        while process.returncode is None:
            if await _is_ready(session, url):
                return
            if clock.monotonic() > deadline:
                raise Unavailable(f"The service was not ready within {START_SECONDS:g} s; see {log}.")
            await clock.sleep(_POLL_SECONDS)
    raise Misconfigured(_last_line(log))


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/readyz") as response:
            return response.status == 200  # noqa: PLR2004 - HTTP's own number
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


def _last_line(log: Path) -> str:
    """Return what the service said last: an error of ours is one sentence."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
        lines = file.read().decode("utf-8", "replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return last.removeprefix("paybell: ") or "The service ended without a word."


async def _stop(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    received: list[int] = []

    def end(number: int) -> None:
        received.append(number)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, end, number)
    try:
        yield
    except asyncio.CancelledError:
        if received:
            raise SystemExit(128 + received[0]) from None  # what a shell reports for the signal
        raise
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)
