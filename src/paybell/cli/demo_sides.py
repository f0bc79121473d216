"""``paybell demo --side``: Paybell is one of the two sides, beside what a shop has already."""

import asyncio
import secrets
from contextlib import suppress
from dataclasses import replace
from typing import Literal

from paybell_client import WalletExists

from paybell.cli.callers import callers
from paybell.cli.demo_setup import demo_broker, demo_home
from paybell.cli.demo_shop import PAID, UNPAID, OwnOrders, OwnPayService
from paybell.cli.output import announce, out, print_json
from paybell.cli.workload import STALL_SECONDS, for_each, wait_for_statuses
from paybell.clock import Clock, SystemClock
from paybell.ids import NODES, SnowflakeIds
from paybell.messaging.events import TRADE_QUEUE
from paybell.messaging.rabbitmq.broker import RabbitBroker
from paybell.serving.child import running_service
from paybell.settings import Settings, read_settings
from paybell.settings.secrets import with_secrets
from paybell.tokens import Tokens

Side = Literal["pay", "trade"]
_BUYER, _PAY_PASSWORD, _PRICE, _SUBJECT = "demo-buyer", "123456", 1234, "demo"
_CONCURRENCY = 32
_POLL_SECONDS = 0.05
# Of ten orders one is cancelled before it is paid.
_CANCELLED_OF = 10


async def demo_side(side: Side, orders: int, *, yes: bool, json: bool) -> int:
    """Run it and report; return the exit code."""
    clock = SystemClock()
    ids = SnowflakeIds(clock, secrets.randbelow(NODES))
    numbers = [ids.next() for _ in range(orders)]
    with demo_home() as home, demo_broker("rabbitmq", yes=yes) as broker_url:
        settings = with_secrets(read_settings({}, home=home, broker_url=broker_url))
        broker = RabbitBroker(broker_url)
        try:
            play = _pay_for_a_shop if side == "pay" else _keep_a_shops_orders
            return await play(numbers, settings, broker, clock, json=json)
        finally:
            await broker.close()


async def _pay_for_a_shop(
    numbers: list[int], settings: Settings, broker: RabbitBroker, clock: Clock, *, json: bool
) -> int:
    """Let Paybell take the payments of a shop's own orders, and its messages mark them paid."""
    announce("Starting Paybell's pay service (--role api --role background) beside a shop's own orders.")
    shop, tokens = OwnOrders(), Tokens.from_settings(settings, clock)
    async with (
        running_service(settings, clock, "api", "background") as service,
        callers(service.url, tokens, clock) as calling,
    ):
        listening = asyncio.create_task(shop.listen(broker, clock))
        buyer = calling.buyer(_BUYER)
        with suppress(WalletExists):  # the answer of a first try was lost
            await calling.shop.open_wallet(_BUYER, _PAY_PASSWORD)
        await calling.shop.top_up(_BUYER, _PRICE * len(numbers))
        paid = set[int]()

        async def buy(number: int) -> None:
            shop.statuses[number] = UNPAID
            applied = await calling.shop.apply_for_pay_order(
                number, _BUYER, _PRICE, subject=_SUBJECT, expires_in_seconds=settings.order_ttl_seconds
            )
            await buyer.pay(applied.id, _PAY_PASSWORD)
            paid.add(number)

        await for_each(numbers, buy, concurrency=_CONCURRENCY)
        deadline = clock.monotonic() + STALL_SECONDS
        while len(shop.marked) < len(paid) and clock.monotonic() < deadline:
            await clock.sleep(_POLL_SECONDS)
        listening.cancel()
        left = (await buyer.read_wallet(_BUYER)).balance
    marked = {number for number, status in shop.statuses.items() if status == PAID}
    right = marked == paid == set(numbers) and left == 0
    if json:
        print_json({"side": "pay", "orders": len(numbers), "paid": len(paid), "markedPaid": len(marked)})
    else:
        out.print(
            f"{len(paid)} of {len(numbers)} orders of the shop paid by Paybell, which knows none of them; "
            f"the shop's own listener of {TRADE_QUEUE} marked {len(marked)} paid.",
            highlight=False,
        )
    return 0 if right else 1


async def _keep_a_shops_orders(
    numbers: list[int], settings: Settings, broker: RabbitBroker, clock: Clock, *, json: bool
) -> int:
    """Let Paybell keep the orders that a shop's own pay service takes the payments of."""
    announce("Starting Paybell's order service (--role trade) beside a shop's own pay service.")
    tokens = Tokens.from_settings(settings, clock)
    own = OwnPayService(tokens, broker, clock)
    cancelled = set(numbers[::_CANCELLED_OF])
    async with own.serving() as pay_url:
        settings = replace(settings, pay_url=pay_url)
        async with (
            running_service(settings, clock, "trade") as service,
            callers(service.url, tokens, clock) as calling,
        ):

            async def buy(number: int) -> None:
                await calling.shop.create_order(_BUYER, _PRICE, subject=_SUBJECT, order_id=number)
                if number in cancelled:
                    await calling.buyer(_BUYER).cancel_order(number)
                else:
                    await own.pay(str(number))

            await for_each(numbers, buy, concurrency=_CONCURRENCY)
            expected = {number: {"CANCELLED" if number in cancelled else "PAID"} for number in numbers}
            missing = await wait_for_statuses(calling.shop, expected, clock, lambda _: None)
    closed = {int(number) for number, order in own.orders.items() if order["status"] == "TRADE_CLOSED"}
    marked = len(numbers) - len(cancelled | missing)
    if json:
        print_json(
            {
                "side": "trade",
                "orders": len(numbers),
                "markedPaid": marked,
                "cancelled": len(cancelled - missing),
            }
        )
    else:
        out.print(
            f"{len(numbers) - len(cancelled)} of {len(numbers)} orders paid by the shop's own pay service, "
            f"which published their bare numbers; Paybell asked it about each, and marked {marked} paid. "
            f"{len(cancelled)} were cancelled before; {len(closed)} are closed at the pay service too.",
            highlight=False,
        )
    return 0 if not missing and closed == cancelled else 1
