"""``python -m torture --seconds 60 --seed 123 [--json]``; exit code 0: nothing lost, doubled or wrong."""

import asyncio
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Literal

import aiohttp
import cyclopts
import msgspec
import uvloop
from cyclopts import Parameter
from cyclopts.validators import Number

from paybell.clock import SystemClock
from paybell.errors import PaybellError, Unavailable
from paybell.storage.embedded import remove_data
from torture.checker import Verdict, checker
from torture.client import PASSWORD, WRONG_PASSWORD, client
from torture.faults import FAULTS, Fault
from torture.load import PREPARED, Options
from torture.nemesis import Nemesis
from torture.probe import Prober
from torture.report import Report, announce, fail
from torture.stack import Part, Stack, running_stack

# Enough for batches of many payments, few enough for what else breaks and starts again on two cores.
CONCURRENCY = 160
# A patient client's last request, and a machine out of breath.
_DRAIN_SECONDS = 90.0
_PROBES = 32
# Enough for each client to begin one purchase a second with an order that is there.
_STOCK_PER_CLIENT_SECOND = 1.0
# On two cores some 400 are made in a second.
_PREPARE_SECONDS = 60.0
_DUPLICATES = re.compile(r'^paybell_listener_events_total\{outcome="duplicate"\} (\S+)$', re.MULTILINE)


class Scraper:
    """Adds up what each life of each listener says it has absorbed."""

    def __init__(self, parts: list[Part]) -> None:
        """Watch these."""
        self._parts = parts
        self._seen: dict[tuple[str, int], float] = {}

    async def run(self) -> None:
        """Ask each second; what a process counted after it was last asked dies with it."""
        timeout = aiohttp.ClientTimeout(total=2.0)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                for part in self._parts:
                    await self._ask(session, part)
                await asyncio.sleep(1.0)

    async def _ask(self, session: aiohttp.ClientSession, part: Part) -> None:
        life = part.lives
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with session.get(f"{part.url}/metrics") as response:
                found = _DUPLICATES.search(await response.text())
            if found and part.lives == life:
                self._seen[part.name, life] = float(found[1])

    @property
    def duplicates(self) -> int:
        """How many there were."""
        return int(sum(self._seen.values()))


@asynccontextmanager
async def _load(
    stack: Stack, seed: int, concurrency: int, stock: int
) -> AsyncIterator["subprocess.Popen[bytes]"]:
    """Run the load in a process of its own, once it is prepared; at the end it is killed if it still lives.

    Raises:
        Unavailable: it does not get as far.
    """
    options = Options(
        pay=stack.pay.port,
        trade=stack.trade.port,
        secret=stack.secret,
        sandbox=stack.channels.url,
        journal=str(stack.home / "load.journal"),
        seed=seed,
        concurrency=concurrency,
        stock=stock,
    )
    process = _start_load(options, stack.home / "load.log")
    try:
        assert process.stdout
        prepared = asyncio.to_thread(process.stdout.readline)
        async with asyncio.timeout(_PREPARE_SECONDS + stock / 50):
            if (await prepared).strip() != PREPARED:
                raise Unavailable("The clients ended before they began; see load.log.")
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdin
        assert process.stdout
        process.stdin.close()
        process.stdout.close()


def _start_load(options: Options, log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "torture.load", msgspec.json.encode(options).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for us
        )


async def _stop_load(process: "subprocess.Popen[bytes]") -> str:
    """Tell it to stop, and wait; return what is wrong with it, if anything."""
    assert process.stdin
    with suppress(OSError):
        process.stdin.write(b"stop\n")
        process.stdin.flush()
    try:
        code = await asyncio.to_thread(process.wait, _DRAIN_SECONDS)
    except subprocess.TimeoutExpired:
        return f"the clients were not done after {_DRAIN_SECONDS:g} s"
    return f"the clients ended with {code}; see load.log" if code else ""


async def torture(
    seconds: float, seed: int, concurrency: int, faults: Sequence[Fault], report: Report
) -> Verdict:
    """Break a stack for so long and judge it."""
    home = report.home
    clock, dice = SystemClock(), random.Random(seed)  # noqa: S311 - repeatable on purpose
    async with running_stack(home, report.queues) as stack:
        journal = home / "probe.journal"
        async with client(
            stack.pay.port, stack.trade.port, stack.secret, journal, connections=_PROBES, fresh=True
        ) as shop:
            prober = Prober(shop)
            await prober.prepare()
            scraper = Scraper([part for part in stack.parts.values() if part.role == "trade"])
            scraping = asyncio.create_task(scraper.run())
            nemesis = Nemesis(stack, prober, dice, report.fault, faults)
            stock = int(seconds * concurrency * _STOCK_PER_CLIENT_SECOND)
            report.say(f"Making {stock:,} orders to pay.")
            async with _load(stack, seed, concurrency, stock) as load:
                report.say(f"Calm: payments go through after {await prober.recovered():.2f} s.")
                await nemesis.run(seconds)
                report.say("Healing everything.")
                await stack.heal()
                await stack.ready()
                trouble = await _stop_load(load)
            await stack.channels.pay_what_is_open()
            async with checker(stack.postgres.urls, clock, stack.channels.books) as judge:
                report.say("Waiting for quiet.")
                await judge.quiet()
                await asyncio.sleep(1.1)  # the last duplicates are counted
                scraping.cancel()
                report.say("Reading the books.")
                verdict = await judge.check(home, stack.destroyed)
        verdict.wrong += [trouble] if trouble else []
        verdict.wrong += [f"{name}: ended by itself" for name in stack.deaths]
        verdict.wrong += bugs(home) + leaks(home, stack.secret)
        report.finish(nemesis, scraper.duplicates, stack.destroyed)
        return verdict


def bugs(home: Path) -> list[str]:
    """Return what the processes' logs call bugs: a loop or a request that failed in no foreseen way."""
    found: Counter[str] = Counter()
    for log in home.glob("*-*.log"):
        for text in log.read_text(errors="replace").splitlines():
            with suppress(msgspec.DecodeError):
                fact = msgspec.json.decode(text)
                if _CUT_OFF in str(fact.get("text", "")):
                    continue
                if fact.get("event") in ("loop_failed", "request_failed", "check_failed", "library_log"):
                    what = str(fact.get("exception", fact.get("text", ""))).strip().splitlines() or [""]
                    found[f"{log.stem} logs {fact['event']}: {what[-1][:200]}"] += 1
                elif fact.get("event") == "loop_refused":
                    found[f"{log.stem} logs loop_refused: {fact.get('detail')}"] += 1
    return [f"{text} ({times} times)" for text, times in found.items()]


# What the HTTP server calls an error when a process is told to end while what its requests need is broken:
# they are answered that their outcome is unknown.
_CUT_OFF = "timeout graceful shutdown exceeded"


def leaks(home: Path, secret: str) -> list[str]:
    """Return where a log holds what no log may: the secret of tokens and pepper, a token, a pay password."""
    kinds = {
        "a secret": re.compile(re.escape(secret.encode())),
        "a token": re.compile(rb"eyJ[\w-]+\.[\w-]+\."),
        "a pay password": re.compile(rf"(?<![0-9.])(?:{PASSWORD}|{WRONG_PASSWORD})(?![0-9])".encode()),
    }
    return [
        f"{log.name} holds {what}"
        for log in sorted(home.glob("*.log"))
        for what, pattern in kinds.items()
        if pattern.search(log.read_bytes())
    ]


def main(
    *,
    seconds: Annotated[float, Parameter(validator=Number(gte=1))] = 60.0,
    seed: int | None = None,
    concurrency: Annotated[int, Parameter(validator=Number(gte=1, lte=500))] = CONCURRENCY,
    only: str = "",
    queues: Literal["classic", "quorum"] | None = None,
    keep: bool = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Torture Paybell: real processes under load, everything around them broken at random, then the books.

    Args:
        seconds: how long things are broken; starting, healing and reading come on top.
        seed: repeats the same faults in the same order; without it a new one, which is printed.
        concurrency: how many clients work at the same time.
        only: break only what has this in its name.
        queues: the type of the queues; without it an odd seed stands for quorum queues.
        keep: keep the folder of logs and journals also if all is well.
        json: end with one JSON line.
    """
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    queues = queues or ("quorum" if seed % 2 else "classic")
    known = [fault for fault in FAULTS if queues == "classic" or not fault.classic]
    faults = [fault for fault in known if only in fault.kind]
    if not faults:
        fail(f"There is no such fault: {only}. Known are: {', '.join(fault.kind for fault in known)}.")
        return 2
    home = Path(tempfile.mkdtemp(prefix="torture-"))
    report = Report(seed, queues, home)
    announce(f"Torture for {seconds:g} s, seed {seed}, {queues} queues, {concurrency} clients, in {home}.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    clean = False
    try:
        run = torture(seconds, seed, concurrency, faults, report)
        verdict = uvloop.run(run)
        clean = verdict.clean
        report.verdict(verdict, json=json)
    except PaybellError as error:
        fail(str(error))
    except KeyboardInterrupt:
        return 130
    finally:
        if clean and not keep:
            remove_data(home / "pg")
            shutil.rmtree(home, ignore_errors=True)
        else:
            announce(f"Logs and journals are in {home}.")
    return 0 if clean else 1


if __name__ == "__main__":
    app = cyclopts.App(name="torture", result_action="return_value", version_flags=[])
    app.default(main)
    sys.exit(app())
