"""Hostile connections beside payments: the payments go on at their rate, and memory stays what it is."""

import asyncio
import os
import random
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from fuzz.attackers import KINDS
from paybell.cli.callers import Callers, callers
from paybell.clock import SystemClock
from paybell.serving.child import Service, running_service
from paybell.settings import Settings
from paybell.tokens import Tokens

BUYERS, CONCURRENCY = 32, 32
PASSWORD, CURRENCY = "246813", "CNY"
FUNDS = 10**12
WINDOW_SECONDS = 4.0
# So long after an attack begins or ends nothing is measured.
_SETTLE_SECONDS = 0.5
RATE_LEAST = 0.9
# A thousand connections of 20 KB, and what an allocator keeps.
GROWTH_MOST_MB = 64.0


@dataclass(slots=True)
class Outcome:
    """What one kind of attack did: purchases a second without and with it, and megabytes of growth.

    On a machine that does much else a rate says little; what one purchase costs the service says more:
    ``costs`` has the milliseconds of its processor time for each, without and with the attack.
    """

    kind: str
    calm: list[float] = field(default_factory=list)
    attacked: list[float] = field(default_factory=list)
    costs: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    growth_mb: float = 0.0

    @property
    def dearer(self) -> float:
        """How many times what it costs without the attack a purchase costs with it."""
        calm, attacked = self.costs
        return sum(attacked) / sum(calm)

    @property
    def calm_rate(self) -> float:
        """Purchases a second without the attack."""
        return sum(self.calm) / len(self.calm)

    @property
    def attacked_rate(self) -> float:
        """Purchases a second with it."""
        return sum(self.attacked) / len(self.attacked)

    @property
    def ratio(self) -> float:
        """What they keep of their rate."""
        return self.attacked_rate / self.calm_rate

    def wrong(self, rate_least: float) -> list[str]:
        """Say what is not as it must be."""
        found = []
        if not self.ratio >= rate_least:
            found.append(f"{self.kind}: payments kept {self.ratio:.2f} of their rate, not {rate_least:g}")
        if self.growth_mb > GROWTH_MOST_MB:
            found.append(f"{self.kind}: memory grew by {self.growth_mb:.0f} MB")
        return found


class Purchases:
    """Buyers that order and pay, one after the other, without end."""

    def __init__(self, calling: Callers) -> None:
        """Buy there."""
        self._calling = calling
        self._numbers = count(1)
        self.done = 0

    async def prepare(self) -> None:
        """Give each buyer a wallet with money."""
        for number in range(BUYERS):
            await self._calling.shop.open_wallet(f"buyer-{number}", PASSWORD, CURRENCY)
            await self._calling.shop.top_up(f"buyer-{number}", FUNDS, CURRENCY)

    async def run(self) -> None:
        """Go on until cancelled; a refusal is an error."""
        async with asyncio.TaskGroup() as group:
            for number in range(CONCURRENCY):
                group.create_task(self._buy(f"buyer-{number % BUYERS}"))

    async def _buy(self, buyer: str) -> None:
        while True:
            order = await self._calling.shop.create_order(buyer, 1, CURRENCY, order_id=next(self._numbers))
            await self._calling.buyer(buyer).pay(str(order.pay_order_id), PASSWORD)
            self.done += 1

    async def rate(self, seconds: float, pid: int) -> tuple[float, float]:
        """Return how many a second there are for so long, and the milliseconds of a process each takes."""
        loop = asyncio.get_running_loop()
        done, started, spent = self.done, loop.time(), _processor_ms(pid)
        await asyncio.sleep(seconds)
        more = self.done - done
        return more / (loop.time() - started), (_processor_ms(pid) - spent) / max(1, more)


async def abuse(home: Path, seed: int, pairs: int, window_seconds: float = WINDOW_SECONDS) -> list[Outcome]:
    """Attack a service in every way, each between windows of calm.

    Args:
        home: an empty folder, for its database and its log.
        seed: of the attackers' dice.
        pairs: windows of calm and of attack for each kind.
        window_seconds: how long each is.

    Raises:
        ExceptionGroup: a payment failed.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    clock, settings = SystemClock(), Settings(home=home, jwt_secret="abuse" * 10, pin_pepper="abuse" * 10)
    async with running_service(settings, clock) as service:
        tokens = Tokens.from_settings(settings, clock)
        async with callers(service.url, tokens, clock, connections=CONCURRENCY) as calling:
            purchases = Purchases(calling)
            await purchases.prepare()
            buying = asyncio.create_task(purchases.run())
            try:
                await purchases.rate(window_seconds, service.pid)  # warm
                outcomes = []
                for kind in KINDS:
                    dice = random.Random(seed)  # noqa: S311 - repeatable on purpose
                    measuring = asyncio.create_task(
                        _measure(kind, service, purchases, dice=dice, pairs=pairs, seconds=window_seconds)
                    )
                    await asyncio.wait([measuring, buying], return_when=asyncio.FIRST_COMPLETED)
                    if buying.done():
                        measuring.cancel()
                        await buying
                    outcomes.append(await measuring)
                return outcomes
            finally:
                buying.cancel()
                await asyncio.wait([buying])


async def _measure(
    kind: str, service: Service, purchases: Purchases, *, dice: random.Random, pairs: int, seconds: float
) -> Outcome:
    outcome, before = Outcome(kind), _resident_mb(service.pid)
    for number in range(pairs):
        # Turned round each time: what changes steadily in the machine counts for neither side.
        for attacked in (False, True) if number % 2 == 0 else (True, False):
            if attacked:
                async with attackers(kind, service.url, dice.randrange(2**32)):
                    await asyncio.sleep(_SETTLE_SECONDS)
                    rate, cost = await purchases.rate(seconds, service.pid)
                    outcome.attacked.append(rate)
                    outcome.costs[1].append(cost)
                    outcome.growth_mb = max(outcome.growth_mb, _resident_mb(service.pid) - before)
            else:
                await asyncio.sleep(_SETTLE_SECONDS)
                rate, cost = await purchases.rate(seconds, service.pid)
                outcome.calm.append(rate)
                outcome.costs[0].append(cost)
    return outcome


@asynccontextmanager
async def attackers(kind: str, url: str, seed: int) -> AsyncIterator[None]:
    """Run the attackers of a kind until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fuzz.attackers", kind, url.rpartition(":")[2], str(seed)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout
        assert await process.stdout.readline() == b"ready\n"
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _processor_ms(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) * 1000 / os.sysconf("SC_CLK_TCK")
