"""A channel that hangs: whether those who pay by balance notice it.

One whole service offers Alipay over the sandbox. Buyers pay by balance as fast as they are answered; in every
other block, buyers wait for Alipay meanwhile, every call of which hangs for 30 s.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from itertools import count
from pathlib import Path

import aiohttp

from benchmarks.parts import JWT_SECRET
from benchmarks.paying import Driven, Pressure, Site, check_paid, drive, load_generator, middle_ratio, paybell
from benchmarks.processes import Failed, family, until_quiet
from benchmarks.servers import Servers
from benchmarks.stock import PAY, TRADE, pay_order_id, payer_of
from paybell.channels.circuit import CALLS_MAX
from paybell.clock import SystemClock
from paybell.sandbox.background import serving_beside
from paybell.testing.ports import free_port
from paybell.tokens import Tokens

# While it hangs; each is between two others.
BLOCKS = 5
HANGS_SECONDS = 30.0
_CHANNEL = "alipay"
# Who come a second while it hangs, and orders kept for them.
_COMING, _WINDOWS = 5.0, 3_000
_POLL_SECONDS, _TURN_SECONDS, _QUIET_SECONDS = 0.25, 60.0, 20.0
_ALWAYS, _CREATED = 10**9, 201


async def hanging(servers: Servers, pressure: Pressure) -> dict[str, float]:
    """Pay in blocks while nobody wants the channel, and while all its calls hang, in turn.

    Returns:
        Medians of the ratios of a block while it hangs and those before and after it: payments answered a
        second (``hangRate``), and the times to the answer (``hangP50``, ``hangP99``).

    Raises:
        BooksWrong: a payment was refused, lost or doubled.
        Failed: the channel did not hang.
    """
    blocks = list[Driven]()
    balance = Pressure(pressure.orders - _WINDOWS, pressure.connections, pressure.seconds)
    async with servers.fresh(PAY) as pay, servers.fresh(TRADE) as trade:
        async with (
            _service(servers, pay, trade, balance.orders + 1) as (site, buyers),
            load_generator() as load,
        ):
            for nth in range(2 * BLOCKS + 1):
                async with buyers.waiting() if nth % 2 else nullcontext():
                    blocks.append(await drive(load, site, balance, part=(nth, 2 * BLOCKS + 1)))
                await until_quiet(family(site.pid), seconds=_QUIET_SECONDS)
        await check_paid(servers, pay, trade, sum(block.warm + block.paid for block in blocks))
    return {
        "hangRate": middle_ratio([block.answered_rate for block in blocks]),
        "hangP50": middle_ratio([block.report["answerMs"]["p50"] for block in blocks]),
        "hangP99": middle_ratio([block.report["answerMs"]["p99"] for block in blocks]),
    }


@asynccontextmanager
async def _service(
    servers: Servers, pay: str, trade: str, first: int
) -> AsyncIterator[tuple[Site, "_Buyers"]]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, serving_beside(Path(folder)) as (url, setup):
        settings = setup.settings(url, f"http://127.0.0.1:{port}")
        async with (
            paybell(servers, pay, trade, port=port, channels=settings) as site,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        ):
            yield site, _Buyers(session, site, f"{url}/sandbox/{_CHANNEL}/faults", first)


class _Buyers:
    """Open payment windows of the channel."""

    def __init__(self, session: aiohttp.ClientSession, site: Site, faults: str, first: int) -> None:
        self._session = session
        self._attempts = f"http://127.0.0.1:{site.port}/pay-orders/{{}}/attempts"
        self._faults = faults
        self._numbers = count(first)
        self._tokens = Tokens(JWT_SECRET, SystemClock(), merchant_id="1", require_expiry=False)

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Have the channel hang, with as many buyers waiting for it as it may have calls, and more who come.

        Raises:
            Failed: it does not hang.
        """
        windows: set[asyncio.Task[int]] = set()
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self._until_it_is_well()
                await self._until_it_hangs(windows)
        except TimeoutError:
            raise Failed("the channel did not hang") from None
        coming = asyncio.create_task(self._come(windows))
        try:
            yield
        finally:
            coming.cancel()
            await self._clear()
            await asyncio.wait([coming, *windows])

    async def _until_it_hangs(self, windows: set["asyncio.Task[int]"]) -> None:
        before = await self._struck()
        for operation in ("open", "query", "close"):
            fault = {"operation": operation, "fault": "delay", "times": _ALWAYS, "seconds": HANGS_SECONDS}
            async with self._session.post(self._faults, json=fault) as answer:
                answer.raise_for_status()
        windows |= {asyncio.create_task(self._open()) for _ in range(CALLS_MAX)}
        while await self._struck() < before + CALLS_MAX // 2:  # noqa: ASYNC110 - another process counts
            await asyncio.sleep(_POLL_SECONDS)

    async def _clear(self) -> None:
        async with self._session.delete(self._faults) as answer:
            answer.raise_for_status()

    async def _until_it_is_well(self) -> None:
        while await self._open() != _CREATED:  # noqa: ASYNC110 - another process answers
            await asyncio.sleep(_POLL_SECONDS)

    async def _struck(self) -> int:
        async with self._session.get(self._faults) as answer:
            return int((await answer.json()).get("delay", 0))

    async def _come(self, windows: set["asyncio.Task[int]"]) -> None:
        while True:
            windows.add(asyncio.create_task(self._open()))
            await asyncio.sleep(1 / _COMING)

    async def _open(self) -> int:
        number = next(self._numbers)
        token = self._tokens.mint(payer_of(number))
        async with self._session.post(
            self._attempts.format(pay_order_id(number)),
            json={"channel": _CHANNEL},
            headers={"Authorization": f"Bearer {token}"},
        ) as answer:
            return answer.status
