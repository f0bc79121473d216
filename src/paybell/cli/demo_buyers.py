"""Buyers of the demo of channels: who pays which way, who changes their mind, who pays twice."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import aiohttp
from paybell_client import Problem, Unavailable

from paybell.channels.attempt import AttemptState
from paybell.cli.callers import Callers
from paybell.clock import Clock

BALANCE, WALLET = "balance", "wallet"
CHANNELS = ("alipay", "wechat", "stripe")
METHODS = (BALANCE, WALLET, *CHANNELS)
PAY_PASSWORD, BUYER = "123456", "demo-buyer"
# Of so many orders one is cancelled instead of paid, tried at two channels, half refunded in the end.
_CANCELLED_OF, _TWICE_OF, _REFUNDED_OF = 10, 3, 5
_POLL_SECONDS = 0.25
# What is in doubt is asked about within seconds; every answer may be a bad one.
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Order:
    """One order, and what its buyer means to do."""

    number: int
    method: str
    amount: int
    cancelled: bool
    twice: bool
    refunded: bool

    @property
    def methods(self) -> Sequence[str]:
        """The channels in the order in which the buyer tries them."""
        other = CHANNELS[(CHANNELS.index(self.method) + 1) % len(CHANNELS)]
        return (other, self.method) if self.twice else (self.method,)


def plan(numbers: Sequence[int]) -> list[Order]:
    """Return the orders under these numbers: as many by each method."""
    each = len(METHODS)
    return [
        Order(
            number,
            METHODS[place % each],
            100 + place,
            cancelled=place // each % _CANCELLED_OF == 1,
            twice=place // each % _TWICE_OF == 0,
            refunded=place // each % _REFUNDED_OF == 2,  # noqa: PLR2004 - the third
        )
        for place, number in enumerate(numbers)
    ]


@dataclass(frozen=True, slots=True)
class Buyers:
    """All of them, at one installation."""

    calling: Callers
    sandbox: aiohttp.ClientSession
    clock: Clock
    pay_orders: dict[int, str] = field(default_factory=dict)

    async def play(self, order: Order) -> None:
        """Create an order, and pay or cancel it."""
        subject = f"demo by {order.method}"
        made = await self.calling.shop.create_order(
            BUYER, order.amount, subject=subject, order_id=order.number
        )
        self.pay_orders[order.number] = pay_order_id = str(made.pay_order_id)
        if order.cancelled:
            with suppress(Problem):  # what it comes to is seen in its status
                await self.calling.buyer(BUYER).cancel_order(order.number)
        elif order.method in (BALANCE, WALLET):
            await self._out_of_a_balance(pay_order_id)
        else:
            await self._by_channels(order, pay_order_id)

    async def give_back(self, order: Order) -> bool:
        """Refund half of an order, if it is one of those; say so."""
        if order.method == BALANCE or order.cancelled or not order.refunded:
            return False
        pay_order_id = self.pay_orders[order.number]
        try:
            await self.calling.shop.refund(
                pay_order_id, order.amount // 2, idempotency_key=f"demo-{order.number}"
            )
        except Problem:
            return False
        return True

    async def _out_of_a_balance(self, pay_order_id: str) -> None:
        """Pay until it is paid: being confirmed is no success, and a debit that was undone is a new try."""

        async def paid() -> bool:
            try:
                return (await self.calling.buyer(BUYER).pay(pay_order_id, PAY_PASSWORD)).is_paid
            except (Problem, Unavailable):
                return False

        await until(paid, self.clock)

    async def _by_channels(self, order: Order, pay_order_id: str) -> None:
        """Open a window and pay it; who opens two pays each that lets itself be paid."""
        numbers = list[tuple[str, str]]()
        for name in order.methods:

            async def opened(name: str = name) -> bool:
                with suppress(Problem, Unavailable):  # so much goes wrong that the channel counts as away
                    attempt = await self.calling.buyer(BUYER).open_attempt(pay_order_id, name)
                    if attempt.state == AttemptState.OPEN:
                        numbers.append((name, attempt.attempt_id))
                return bool(numbers) and numbers[-1][0] == name

            await until(opened, self.clock)
        for name, number in reversed(numbers):
            async with self.sandbox.post(f"/sandbox/{name}/payments", json={"number": number}):
                pass


async def until(done: Callable[[], Awaitable[bool]], clock: Clock) -> None:
    """Try again and again; what is still not done in the end is seen in what is reported."""
    deadline = clock.monotonic() + PATIENCE_SECONDS
    while not await done() and clock.monotonic() < deadline:
        await clock.sleep(_POLL_SECONDS)
