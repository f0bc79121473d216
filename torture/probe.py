"""How long until payments go through again: seen from outside, by paying."""

import asyncio
from collections import Counter
from functools import partial
from itertools import count

from paybell.clock import SystemClock
from torture.client import Answer, Client, patiently

# Orders of the probes count from here, those of the load from elsewhere.
_FIRST_ORDER = 500_000_000
_BUYERS = 8
_FUNDS = 10**12
# As many at once: each of two API workers, relays and listeners takes part in some.
_TOGETHER = 4
_EVERY_SECONDS = 0.4
_POLL_SECONDS = 0.05
# An order that trade has not heard of by then was caught in something; another one tells more.
_ORDER_SECONDS = 20.0
# What the issue allows is 15; past this we stop waiting and go on breaking things.
GIVE_UP_SECONDS = 40.0


class Prober:
    """Pays small orders, several together, until trade calls all of them PAID."""

    def __init__(self, shop: Client) -> None:
        """Take a client that opens a connection for each request."""
        self._shop = shop
        self._clock = SystemClock()
        self._orders = count(_FIRST_ORDER)
        self.troubles: Counter[str] = Counter()

    async def prepare(self) -> None:
        """Open and fund the wallets, before anything breaks."""
        await asyncio.gather(*(self._new_buyer(f"probe-{number}") for number in range(_BUYERS)))

    async def _new_buyer(self, name: str) -> None:
        await patiently(partial(self._shop.open_wallet, name), GIVE_UP_SECONDS)
        await patiently(partial(self._shop.top_up, name, _FUNDS, f"funds-{name}"), GIVE_UP_SECONDS)

    async def recovered(self) -> float:
        """Return the seconds from now until a whole group of payments was made and heard of."""
        started = self._clock.monotonic()
        self.troubles.clear()
        groups: set[asyncio.Task[None]] = set()
        try:
            while self._clock.monotonic() - started < GIVE_UP_SECONDS:
                groups.add(asyncio.create_task(self._group()))
                done, groups = await asyncio.wait(
                    groups, timeout=_EVERY_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                if any(task.exception() is None for task in done):
                    break
            return self._clock.monotonic() - started
        finally:
            for group in groups:
                group.cancel()
            await asyncio.gather(*groups, return_exceptions=True)

    async def _group(self) -> None:
        async with asyncio.timeout(_ORDER_SECONDS), asyncio.TaskGroup() as group:
            for _ in range(_TOGETHER):
                group.create_task(self._one())

    async def _one(self) -> None:
        """Pay one order and see it PAID; whatever fails, fails the group."""
        order = next(self._orders)
        buyer = f"probe-{order % _BUYERS}"
        self._shop.plan(order, buyer, 1, "normal")
        step = "create"
        try:
            created = _done(await self._shop.create(order, buyer, 1))
            step = "pay"
            _done(await self._shop.pay(order, created.body["payOrderId"], buyer))
            step = "PAID"
            while await self._shop.status(order) != "PAID":  # noqa: ASYNC110 - the group has a limit
                await asyncio.sleep(_POLL_SECONDS)
        except _NotDone as error:
            self.troubles[f"{step} {error}"] += 1
            raise
        except asyncio.CancelledError:
            self.troubles[f"waited for {step}"] += 1
            raise


class _NotDone(Exception):
    pass


def _done(answer: Answer) -> Answer:
    if not answer.ok:
        raise _NotDone(answer.code)
    return answer
