"""``paybell demo --channels``: orders paid by Alipay, WeChat Pay and card over simulators that go wrong."""

import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from paybell.channels.attempt import AttemptState
from paybell.channels.bill_matching import Outcome, outcomes
from paybell.cli.client import PaybellClient
from paybell.cli.demo_setup import demo_home
from paybell.cli.output import announce, out, print_json
from paybell.cli.workload import for_each, wait_for_statuses
from paybell.clock import Clock, SystemClock
from paybell.errors import Unavailable
from paybell.ids import NODES, SnowflakeIds
from paybell.money import DEFAULT_CURRENCY
from paybell.sandbox.background import serving_beside
from paybell.serving.child import running_service
from paybell.serving.databases import databases
from paybell.settings import read_settings
from paybell.settings.secrets import with_secrets
from paybell.storage import READING, Database
from paybell.testing.ports import free_port
from paybell.tokens import Tokens
from paybell.verification.audit import audit

BALANCE = "balance"
METHODS = (BALANCE, "alipay", "wechat", "stripe")
_CHANNELS = METHODS[1:]
_PAY_PASSWORD, _BUYER = "123456", "demo-buyer"
_CONCURRENCY = 48
# Of calls and notices; an order has about three of them, so that a third of all orders meets a fault.
FAULTY_SHARE = 0.13
# Of ten orders one is cancelled instead of paid.
_CANCELLED_OF = 10
# Of three one tries two channels.
_TWICE_OF = 3
_POLL_SECONDS = 1.0
# A window in doubt is asked about after 5, 10, 20, 40 and 60 s; all of them may be answered badly.
_PATIENCE_SECONDS = 120.0
_RECEIVED = {AttemptState.SUCCEEDED, AttemptState.LATE_SUCCESS}
Books = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Order:
    number: int
    method: str
    amount: int
    cancelled: bool
    twice: bool

    @property
    def methods(self) -> Sequence[str]:
        """The channels in the order in which the buyer tries them."""
        other = _CHANNELS[(_CHANNELS.index(self.method) + 1) % len(_CHANNELS)]
        return (other, self.method) if self.twice else (self.method,)


async def demo_channels(count: int, *, json: bool) -> int:
    """Run it and report; return the exit code."""
    clock = SystemClock()
    ids, port = SnowflakeIds(clock, secrets.randbelow(NODES)), free_port()
    orders = [
        _Order(
            ids.next(),
            METHODS[place % 4],
            100 + place,
            cancelled=place // 4 % _CANCELLED_OF == 1,
            twice=place // 4 % _TWICE_OF == 0,
        )
        for place in range(count)
    ]
    with demo_home() as home, serving_beside(home / "sandbox", f"http://127.0.0.1:{port}") as (url, fields):
        settings = replace(with_secrets(read_settings({}, home=home)), **dict[str, Any](fields))
        announce("Starting Paybell over simulators of all channels; a third of the orders meets a fault.")
        tokens = Tokens.from_settings(settings, clock)
        async with (
            running_service(settings, clock, port=port) as service,
            PaybellClient.open(service.url, tokens, clock, connections=_CONCURRENCY * 2) as client,
            aiohttp.ClientSession(url) as sandbox,
        ):
            missing = await _play(orders, client, sandbox, clock)
            with databases(settings) as urls:
                said = await _until_settled(urls["pay"], sandbox, clock)
                audited = await audit(urls, settings.merchant_id, clock)
    result = {
        "orders": len(orders),
        "paid": audited.paid,
        "closed": len(orders) - audited.paid - len(missing),
        "undecided": len(missing),
        "markedPaid": audited.marked_paid,
        **said,
        "ledgerBalanced": audited.ledger_balanced,
    }
    if json:
        print_json(result)
    else:
        out.print(", ".join(f"{name} {value}" for name, value in result.items()), soft_wrap=True)
    good = not missing and audited.clean and not any(said[name] for name in ("lost", "doubled", "guessed"))
    return 0 if good else 1


async def _until_settled(url: str, sandbox: aiohttp.ClientSession, clock: Clock) -> Mapping[str, int]:
    """Wait until what came twice has gone back; return what both sides' books say in the end."""
    said = dict[str, int]()

    async def settled() -> bool:
        nonlocal said
        books = {name: await _books(sandbox, name) for name in _CHANNELS}
        said = judged(await outcomes(database), books)
        return said["lost"] == said["doubled"] == said["guessed"] == 0

    async with Database.open(url, clock, connections=2, limits=READING) as database:
        await _until(settled, clock)
    return said


def judged(attempts: Sequence[Outcome], books: Mapping[str, Books]) -> dict[str, int]:
    """Return what the channels' books say of what we believe."""
    kept, late, guessed = defaultdict[int, int](int), 0, 0
    for one in attempts:
        there = books[one.channel].get(one.number, {"paid": 0, "refunded": 0})
        kept[one.pay_order_id] += there["paid"] - there["refunded"]
        late += one.state is AttemptState.LATE_SUCCESS and there["paid"] == there["refunded"]
        guessed += (one.state in _RECEIVED) != bool(there["paid"])
    orders = {one.pay_order_id: one for one in attempts}.values()
    return {
        "manual": sum(one.state is AttemptState.MANUAL for one in attempts),
        "backByItself": late,
        "lost": sum(not one.paid and kept[one.pay_order_id] > 0 for one in orders),
        "doubled": sum(one.paid and kept[one.pay_order_id] > one.amount for one in orders),
        "guessed": guessed,
    }


async def _play(
    orders: Sequence[_Order], client: PaybellClient, sandbox: aiohttp.ClientSession, clock: Clock
) -> set[int]:
    """Let buyers pay and turn back; return the orders that are neither paid nor cancelled in the end."""
    await client.open_wallet(_BUYER, _PAY_PASSWORD, DEFAULT_CURRENCY)
    await client.top_up(_BUYER, sum(one.amount for one in orders), DEFAULT_CURRENCY, "demo-funds")
    for name in _CHANNELS:
        await _post(
            sandbox, f"/sandbox/{name}/faults", {"share": FAULTY_SHARE, "seed": secrets.randbelow(2**32)}
        )

    async def play(order: _Order) -> None:
        subject = f"demo by {order.method}"
        made = await client.create_order(order.number, _BUYER, order.amount, DEFAULT_CURRENCY, subject)
        pay_order_id = str(made.body["payOrderId"])
        if order.cancelled:
            await client.cancel_order(order.number, _BUYER)
        elif order.method == BALANCE:
            await client.pay(pay_order_id, _BUYER, _PAY_PASSWORD)
        else:
            await _by_channels(order, pay_order_id, client, sandbox, clock)

    await for_each(orders, play, concurrency=_CONCURRENCY)
    for name in _CHANNELS:
        await sandbox.delete(f"/sandbox/{name}/faults")
    expected = {one.number: {"CANCELLED" if one.cancelled else "PAID"} for one in orders}
    missing = await wait_for_statuses(client, expected, clock, lambda _: None)
    again = {number: expected[number] for number in missing}
    return await wait_for_statuses(client, again, clock, lambda _: None)


async def _by_channels(
    order: _Order, pay_order_id: str, client: PaybellClient, sandbox: aiohttp.ClientSession, clock: Clock
) -> None:
    """Open a window and pay it; of three buyers one opens two, and pays each that lets itself be paid."""
    numbers = list[tuple[str, str]]()
    for name in order.methods:

        async def opened(name: str = name) -> bool:
            try:
                answer = await client.open_attempt(pay_order_id, _BUYER, name)
            except Unavailable:  # so much goes wrong that the channel counts as away
                return False
            if answer.ok and answer.body["state"] == AttemptState.OPEN:
                numbers.append((name, str(answer.body["attemptId"])))
            return bool(numbers) and numbers[-1][0] == name

        await _until(opened, clock)
    for name, number in reversed(numbers):
        await _post(sandbox, f"/sandbox/{name}/payments", {"number": number})


async def _until(done: Callable[[], Awaitable[bool]], clock: Clock) -> None:
    """Try again and again; what is still not done in the end is seen in what is reported."""
    deadline = clock.monotonic() + _PATIENCE_SECONDS
    while not await done() and clock.monotonic() < deadline:
        await clock.sleep(_POLL_SECONDS)


async def _post(sandbox: aiohttp.ClientSession, path: str, body: Mapping[str, object]) -> int:
    async with sandbox.post(path, json=body) as answer:
        return answer.status


async def _books(sandbox: aiohttp.ClientSession, name: str) -> Books:
    async with sandbox.get(f"/sandbox/{name}/books") as answer:
        books: Books = await answer.json()
        return books
