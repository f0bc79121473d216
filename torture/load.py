"""The load: a process of buyers who pay, refuse, repeat, race and give up, for as long as it is told to.

``python -m torture.load`` with its settings in one JSON argument. It says `PREPARED` when wallets and a
stock of orders are there, goes on until its standard input ends, then finishes what it has begun.
"""

import asyncio
import random
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import ClassVar

import msgspec
import uvloop

from torture.client import WRONG_PASSWORD, Answer, Client, client, patiently
from torture.part import tie_to_parent

# Orders of the load count from here, those of the probes from elsewhere.
FIRST_ORDER = 1_000_000
BUYERS = 40
FUNDS = 10**12
POOR, POOR_FUNDS = "poor", 5
PRICE_LEAST, PRICE_MOST = 10, 5_000
# Nobody waits for ever; some do not even ask again, so that unknown outcomes stay unknown.
PATIENCE_SECONDS, IMPATIENT_SHARE = 60.0, 0.2
# So many clients pay orders that were made before anything broke, and need the pay service alone; the others
# make their orders first. Else all of them would soon wait for the order service whenever it is away.
PAYERS_SHARE = 0.8
PREPARED = b"prepared"
CHANNELS = ("alipay", "wechat", "stripe")
# So often a buyer asks for a window whose channel has not answered yet.
_OPENINGS = 3


class Options(msgspec.Struct, kw_only=True):
    """What the load is told."""

    pay: int
    trade: int
    secret: str
    sandbox: str
    journal: str
    seed: int
    concurrency: int
    stock: int


class Load:
    """Some buyers at work at the same time."""

    def __init__(self, shop: Client, dice: random.Random) -> None:
        """Take the client of all of them."""
        self._shop = shop
        self._dice = dice
        self._orders = count(FIRST_ORDER)
        self._keys = count(1)
        self._careless = count(1)
        self._careless_buyer = ""
        self._stock: deque[tuple[int, str, int, str]] = deque()
        self.stopping = False

    async def prepare(self, stock: int, concurrency: int) -> None:
        """Open and fund the wallets and make a stock of orders, before anything breaks."""
        buyers = (self._new_buyer(f"buyer-{number}", FUNDS) for number in range(BUYERS))
        await asyncio.gather(*buyers, self._new_buyer(POOR, POOR_FUNDS), self._new_careless())
        left = count(1)

        async def make() -> None:
            while next(left) <= stock:
                order, buyer, amount = self._plan("normal")
                created = await patiently(partial(self._shop.create, order, buyer, amount), PATIENCE_SECONDS)
                if created.ok:
                    self._stock.append((order, buyer, amount, created.body["payOrderId"]))

        await asyncio.gather(*(make() for _ in range(concurrency)))

    async def work(self, *, payer: bool) -> None:
        """Play scenarios until told to stop; a payer only those of the pay service."""
        names = [name for name in self._SCENARIOS if not payer or name in self._PAYERS]
        weights = [self._SCENARIOS[name][1] for name in names]
        while not self.stopping:
            name = self._dice.choices(names, weights)[0]
            await self._SCENARIOS[name][0](self, name)

    # Scenarios: the checker knows them by name -------------------------------------------------

    async def _normal(self, name: str) -> None:
        order, buyer, pay_order = await self._order(name)
        if pay_order:
            await self._patiently(partial(self._shop.pay, order, pay_order, buyer))

    async def _repeated(self, name: str) -> None:
        order, buyer, pay_order = await self._order(name)
        if pay_order:
            pay = partial(self._shop.pay, order, pay_order, buyer)
            await self._patiently(pay)
            await asyncio.gather(*(self._patiently(pay) for _ in range(self._dice.randint(1, 3))))

    async def _at_once(self, name: str) -> None:
        order, buyer, pay_order = await self._order(name)
        if pay_order:
            pay = partial(self._shop.pay, order, pay_order, buyer)
            await asyncio.gather(*(self._patiently(pay) for _ in range(self._dice.randint(2, 5))))

    async def _careless_one(self, name: str) -> None:
        order, buyer, pay_order = await self._order(name, self._careless_buyer)
        if not pay_order:
            return
        await self._shop.pay(order, pay_order, buyer, WRONG_PASSWORD)
        answer = await self._patiently(partial(self._shop.pay, order, pay_order, buyer))
        if answer.code == "pay_password_locked" and buyer == self._careless_buyer:
            await self._new_careless()

    async def _poor_one(self, name: str) -> None:
        order, buyer, pay_order = await self._order(name, POOR)
        if pay_order:
            await self._patiently(partial(self._shop.pay, order, pay_order, buyer))

    async def _foreign(self, name: str) -> None:
        order, buyer, pay_order = await self._order(name)
        if pay_order:
            stranger = self._buyer(but=buyer)
            await self._patiently(partial(self._shop.pay, order, pay_order, stranger))

    async def _closed(self, name: str) -> None:
        order, buyer, pay_order = await self._order(name)
        if pay_order:
            await self._patiently(partial(self._shop.close, order, pay_order))
            await self._patiently(partial(self._shop.pay, order, pay_order, buyer))

    async def _cancelled(self, name: str) -> None:
        order, buyer, pay_order = await self._order(name)
        if pay_order:
            await self._patiently(partial(self._shop.cancel, order, buyer))
            await self._patiently(partial(self._shop.pay, order, pay_order, buyer))

    async def _raced(self, name: str) -> None:
        order, buyer, pay_order = await self._order(name)
        if pay_order:
            end = self._dice.choice(
                [partial(self._shop.close, order, pay_order), partial(self._shop.cancel, order, buyer)]
            )
            pay = partial(self._shop.pay, order, pay_order, buyer)
            await asyncio.gather(self._patiently(pay), self._patiently(end))

    async def _expiring(self, name: str) -> None:
        """Pay about when the order falls due; trade's order is made from the pay order that is there."""
        order, buyer, amount = self._plan(name)
        seconds = self._dice.randint(1, 2)
        applied = await self._patiently(partial(self._shop.apply, order, buyer, amount, seconds))
        created = await self._patiently(partial(self._shop.create, order, buyer, amount))
        if applied.ok and created.ok:
            await asyncio.sleep(self._dice.choice([0.0, 0.5 * seconds, 0.98 * seconds, seconds + 0.2]))
            await self._patiently(partial(self._shop.pay, order, applied.body["payOrderId"], buyer))

    async def _by_channel(self, name: str) -> None:
        """Open a window and pay it; who opens two may pay both, and one of them comes back."""
        order, buyer, pay_order = await self._order(name)
        if not pay_order:
            return
        channels = self._dice.sample(CHANNELS, 2 if name == "channel_twice" else 1)
        windows = [(one, await self._window(order, pay_order, buyer, one)) for one in channels]
        for channel, number in windows:
            if number:
                await self._shop.scan(order, channel, number)

    async def _channel_or_balance(self, name: str) -> None:
        order, buyer, pay_order = await self._order(name)
        if pay_order:
            channel = self._dice.choice(CHANNELS)
            number = await self._window(order, pay_order, buyer, channel)
            both = [self._patiently(partial(self._shop.pay, order, pay_order, buyer))]
            if number:
                both.append(self._shop.scan(order, channel, number))
            await asyncio.gather(*both)

    async def _channel_closed(self, name: str) -> None:
        """Close an order while its window is open and perhaps being paid."""
        order, buyer, pay_order = await self._order(name)
        if pay_order:
            channel = self._dice.choice(CHANNELS)
            number = await self._window(order, pay_order, buyer, channel)
            both = [self._patiently(partial(self._shop.close, order, pay_order))]
            if number and self._dice.random() < 0.5:  # noqa: PLR2004 - half of them
                both.append(self._shop.scan(order, channel, number))
            await asyncio.gather(*both)

    async def _channel_expiring(self, name: str) -> None:
        """Pay a window about when it ends; Alipay's may be so short."""
        order, buyer, amount = self._plan(name)
        seconds = self._dice.randint(3, 6)
        applied = await self._patiently(partial(self._shop.apply, order, buyer, amount, seconds))
        created = await self._patiently(partial(self._shop.create, order, buyer, amount))
        if applied.ok and created.ok:
            number = await self._window(order, applied.body["payOrderId"], buyer, "alipay")
            await asyncio.sleep(self._dice.choice([0.0, 0.5 * seconds, seconds - 1.6, seconds]))
            if number:
                await self._shop.scan(order, "alipay", number)

    async def _window(self, order: int, pay_order: str, buyer: str, channel: str) -> str:
        """Open a window; return its number at the channel, empty if none came about."""
        for _ in range(_OPENINGS):
            answer = await self._patiently(partial(self._shop.attempt, order, pay_order, buyer, channel))
            if answer.ok and answer.body["state"] == "OPEN":
                return str(answer.body["attemptId"])
        return ""

    async def _top_up(self, _: str) -> None:
        buyer, amount = self._buyer(), self._dice.randint(1, 1_000)
        top_up = partial(self._shop.top_up, buyer, amount, f"key-{next(self._keys)}")
        await asyncio.gather(*(self._patiently(top_up) for _ in range(self._dice.randint(1, 3))))

    # Name: what to do, and how often in about a hundred.
    _SCENARIOS: ClassVar[dict[str, tuple[Callable[["Load", str], Awaitable[None]], int]]] = {
        "normal": (_normal, 80),
        "repeated": (_repeated, 8),
        "at_once": (_at_once, 8),
        "careless": (_careless_one, 5),
        "poor": (_poor_one, 4),
        "foreign": (_foreign, 4),
        "closed": (_closed, 4),
        "cancelled": (_cancelled, 4),
        "raced": (_raced, 6),
        "expiring": (_expiring, 6),
        "top_up": (_top_up, 6),
        "channel": (_by_channel, 10),
        "channel_twice": (_by_channel, 3),
        "channel_or_balance": (_channel_or_balance, 3),
        "channel_closed": (_channel_closed, 3),
        "channel_expiring": (_channel_expiring, 2),
    }
    _PAYERS: ClassVar[frozenset[str]] = frozenset(
        (
            *("normal", "repeated", "at_once", "foreign", "closed"),
            *("channel", "channel_twice", "channel_or_balance", "channel_closed"),
        )
    )

    def _plan(self, name: str, buyer: str = "") -> tuple[int, str, int]:
        order, buyer = next(self._orders), buyer or self._buyer()
        amount = self._dice.randint(PRICE_LEAST, PRICE_MOST)
        self._shop.plan(order, buyer, amount, name)
        return order, buyer, amount

    async def _order(self, name: str, buyer: str = "") -> tuple[int, str, str]:
        """Take an order or create one; without a pay order's id it came to nothing."""
        if self._stock and name in self._PAYERS:
            order, buyer, amount, pay_order = self._stock.popleft()
            self._shop.plan(order, buyer, amount, name)
            return order, buyer, pay_order
        order, buyer, amount = self._plan(name, buyer)
        created = await self._patiently(partial(self._shop.create, order, buyer, amount))
        return order, buyer, created.body["payOrderId"] if created.ok else ""

    async def _patiently(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        impatient = self._dice.random() < IMPATIENT_SHARE
        return await patiently(ask, 0.0 if impatient else PATIENCE_SECONDS)

    def _buyer(self, but: str = "") -> str:
        return self._dice.choice([name for n in range(BUYERS) if (name := f"buyer-{n}") != but])

    async def _new_careless(self) -> None:
        buyer = f"careless-{next(self._careless)}"
        await self._new_buyer(buyer, FUNDS)
        self._careless_buyer = buyer

    async def _new_buyer(self, name: str, funds: int) -> None:
        await patiently(partial(self._shop.open_wallet, name), PATIENCE_SECONDS)
        top_up = partial(self._shop.top_up, name, funds, f"funds-{name}")
        await patiently(top_up, PATIENCE_SECONDS)


async def run(options: Options) -> None:
    """Work until standard input ends, then finish what was begun."""
    dice = random.Random(options.seed)  # noqa: S311 - repeatable on purpose
    loop = asyncio.get_running_loop()
    async with client(
        options.pay,
        options.trade,
        options.secret,
        Path(options.journal),
        connections=options.concurrency * 5,
        sandbox=options.sandbox,
    ) as shop:
        load = Load(shop, dice)
        await load.prepare(options.stock, options.concurrency)
        sys.stdout.buffer.write(PREPARED + b"\n")
        sys.stdout.flush()

        def told_to_stop() -> None:
            load.stopping = True
            loop.remove_reader(sys.stdin)

        loop.add_reader(sys.stdin, told_to_stop)
        async with asyncio.TaskGroup() as group:
            for number in range(options.concurrency):
                group.create_task(load.work(payer=number < PAYERS_SHARE * options.concurrency))


if __name__ == "__main__":
    tie_to_parent()
    uvloop.run(run(msgspec.json.decode(sys.argv[1], type=Options)))
