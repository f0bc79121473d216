"""Promise 5: paying does not wait for, and does not fail with, RabbitMQ or the order service."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from amqp import Line, line, rabbit, stranger
from notebook import BINDING, notebook
from relaying import MeanwhileBroker, listening, pay, pending, relay
from support import PaySide, codes, until

from paybell.clock import SystemClock
from paybell.errors import BrokerUnavailable
from paybell.messaging.broker import Topology
from paybell.messaging.events import PAY_DIRECT, PAY_EVENTS, TRADE_QUEUE, topology
from paybell.messaging.local import LocalBroker
from paybell.pay.service import PayService
from paybell.runtime import open_runtime
from paybell.settings import read_settings
from paybell.storage import Database
from paybell.testing.rabbitmq_install import ensure_installed
from paybell.testing.rabbitmq_node import RabbitmqNode
from paybell.tokens import Principal
from paybell.wallet.service import WalletService
from paybell.worker import Loop, Task, run_loop, run_task

NOBODY = "amqp://guest:guest@127.0.0.1:1/%2f"
# Ten times the day takes on a busy machine, and less than the relay waits for one confirm.
DAY_SECONDS = 8.0


async def a_day(side: PaySide) -> list[str]:
    """Pay, or try to, in every way that has an answer of its own; return the answers and the balances."""
    await side.fund("rich", 1_000)
    await side.fund("poor", 10)
    orders = [await side.order(number, "rich", 100) for number in range(6001, 6006)]
    dear = await side.order(6006, "poor", 100)
    closed = await side.order(6007, "rich", 100)
    await side.pay.close(closed.id, Principal("shop", frozenset(), "1"), "00-1-2-00")
    tries = [*orders, orders[0], closed]
    answers = [await side.attempt(order.id, "rich") for order in tries]
    answers += [
        await side.attempt(orders[0].id, "poor"),
        await side.attempt(dear.id, "poor"),
        await side.attempt(dear.id, "poor", "000000"),
        await side.attempt(77, "rich"),
    ]
    return [*codes(answers), str(await side.balance("rich")), str(await side.balance("poor"))]


EVENTS = 6
THE_DAY = [
    *["paid"] * 6, "pay_order_closed", "not_the_payer", "insufficient_balance", "wrong_pay_password",
    "pay_order_not_found", "500", "10",
]  # fmt: skip


@asynccontextmanager
async def serving(database: Database, pay_url: str, broker_url: str, *roles: str) -> AsyncIterator[PaySide]:
    """Run the parts of these roles as the service does; what is asked of it is asked of its own objects."""
    settings = read_settings({}, jwt_secret="j" * 32, pin_pepper="p" * 32, broker_url=broker_url)
    stop, side = asyncio.Event(), PaySide(database)
    async with open_runtime(settings, {"pay": pay_url}, frozenset(roles)) as runtime:
        parts, clock = runtime.parts, runtime.host.clock
        side.pay, side.wallets = parts.service(PayService), parts.service(WalletService)
        loops = [asyncio.create_task(run_loop(loop, stop, clock)) for loop in parts.loops]
        try:
            yield side
        finally:
            stop.set()
            await asyncio.gather(*loops)


async def test_without_any_broker_payments_have_the_same_outcomes(
    pay_database: Database, pay_url: str
) -> None:
    """A process that only pays does not even look for one."""
    async with asyncio.timeout(DAY_SECONDS), serving(pay_database, pay_url, NOBODY, "api") as side:
        assert await a_day(side) == THE_DAY
        assert await pending(side) == EVENTS


async def silent(proxy: Line) -> None:
    """Let the line fall silent, and the relay be caught by that."""
    proxy.fall_silent()


async def gone(proxy: Line) -> None:
    """Take the broker away."""
    proxy.refuse()
    proxy.cut()


async def healthy(proxy: Line) -> None:
    """Leave it as it is."""
    del proxy


@pytest.mark.rabbitmq
@pytest.mark.parametrize("fault", [healthy, silent, gone])
async def test_payments_have_the_same_outcomes_whatever_the_broker_does(
    pay_database: Database, pay_url: str, rabbitmq_url: str, fault: Callable[[Line], Awaitable[None]]
) -> None:
    """And when it is back, everybody hears of all of them."""
    with stranger(rabbitmq_url) as outside:
        outside.forget(topology())
    async with (
        line(rabbitmq_url) as proxy,
        serving(pay_database, pay_url, proxy.url, "api", "background") as side,
    ):
        await fault(proxy)
        async with asyncio.timeout(DAY_SECONDS):
            assert await a_day(side) == THE_DAY
        if fault is not healthy:
            assert await pending(side) == EVENTS
            proxy.recover()

        async def told() -> bool:
            return await pending(side) == 0

        await until(told, seconds=30)
        with stranger(rabbitmq_url) as outside:
            heard = {int(body) for _, body in await asyncio.to_thread(outside.take, TRADE_QUEUE)}
            outside.forget(topology())
    assert heard == set(range(6001, 6006))


@pytest.mark.slow
@pytest.mark.rabbitmq
async def test_payments_go_on_under_a_memory_alarm(pay_database: Database, pay_url: str) -> None:
    ensure_installed(print)
    with await asyncio.to_thread(RabbitmqNode.start) as node:
        async with serving(pay_database, pay_url, node.url, "api", "background") as side:
            await asyncio.to_thread(node.block)
            async with asyncio.timeout(DAY_SECONDS):
                assert await a_day(side) == THE_DAY
            await asyncio.to_thread(node.unblock)

            async def told() -> bool:
                return await pending(side) == 0

            await until(told, seconds=30)
            with stranger(node.url) as outside:
                heard = {int(body) for _, body in await asyncio.to_thread(outside.take, TRADE_QUEUE)}
    assert heard == set(range(6001, 6006))


async def test_a_payment_does_not_wait_for_the_confirm_of_another(pay_database: Database) -> None:
    """The relay holds neither a lock nor a transaction while the broker thinks."""
    side, broker, released = PaySide(pay_database), MeanwhileBroker(LocalBroker()), asyncio.Event()
    await side.fund("7", 1_000_000)
    await pay(side, 5001)
    broker.meanwhile = released.wait
    nobody_listens = Topology([PAY_DIRECT, PAY_EVENTS], [])
    relaying = asyncio.create_task(relay(side.outbox, broker, declares=nobody_listens).run_once())
    await until(published(broker))

    async with asyncio.timeout(DAY_SECONDS):
        await pay(side, *range(5002, 5102))
        assert await a_day(side) == THE_DAY
    assert not relaying.done()
    released.set()
    assert await relaying == 1


def published(broker: MeanwhileBroker) -> Callable[[], Awaitable[bool]]:
    async def something() -> bool:
        return broker.published > 0

    return something


async def test_without_the_order_service_payments_succeed_and_it_hears_of_them_later(
    pay_database: Database, trade_url: str
) -> None:
    """Nobody listens, so nothing is confirmed; then somebody does."""
    side, broker = PaySide(pay_database), LocalBroker()
    await side.fund("7", 1_000_000)
    declares = Topology([PAY_DIRECT, PAY_EVENTS], [BINDING])
    running = relay(side.outbox, broker, declares=declares, lease_seconds=0.2)
    await pay(side, 5001, 5002)
    await running.run_once()
    await pay(side, 5003)
    await running.run_once()
    assert await pending(side) == 3

    async with notebook(trade_url, SystemClock(), broker) as book, listening(book.runner):

        async def told() -> bool:
            await running.run_once()
            await running.retry_once()
            return await pending(side) == 0

        await until(told)
        assert await book.written() == [5001, 5002, 5003]


async def test_with_a_broker_that_is_down_payments_succeed_and_the_relay_catches_up(
    pay_database: Database, trade_url: str
) -> None:
    side, broker = PaySide(pay_database), MeanwhileBroker(LocalBroker())
    await side.fund("7", 1_000_000)
    running = relay(side.outbox, broker, declares=Topology([PAY_DIRECT, PAY_EVENTS], [BINDING]))
    broker.down = True
    numbers = range(5001, 5051)
    for number in numbers:
        await pay(side, number)
        with pytest.raises(BrokerUnavailable):
            await running.run_once()
    broker.down = False

    async with notebook(trade_url, SystemClock(), broker) as book:
        await broker.declare(Topology([PAY_DIRECT], [BINDING]))
        async with listening(book.runner):
            assert await running.run_once() == len(numbers)
        assert await book.written() == list(numbers)
    assert await pending(side) == 0


@pytest.mark.rabbitmq
@pytest.mark.slow
async def test_ten_thousand_payments_while_rabbitmq_is_away_are_all_heard_of_when_it_is_back(
    pay_database: Database, trade_url: str
) -> None:
    """Nothing is given up meanwhile: every event waits as it was written, and goes when it can."""
    number, part = 10_000, 2_000
    ensure_installed(print)
    with RabbitmqNode.start() as node:
        async with rabbit(node.url) as broker, notebook(trade_url, SystemClock(), broker) as book:
            side, stop = PaySide(pay_database), asyncio.Event()
            await side.fund("7", 100 * number)
            declares = Topology([BINDING.exchange, PAY_EVENTS], [BINDING])
            telling = relay(side.outbox, broker, declares=declares)
            await broker.declare(declares)
            await asyncio.to_thread(node.settle)
            async with asyncio.TaskGroup() as group:
                group.create_task(run_loop(Loop("relay", telling.run_once), stop, SystemClock()))
                group.create_task(run_task(Task("listener", book.runner.run), stop, SystemClock()))
                await asyncio.to_thread(node.kill)
                for start in range(1, number, part):
                    await pay(side, *range(start, start + part))
                waiting = await pending(side)
                await asyncio.to_thread(node.restart)

                async def all_heard() -> bool:
                    return len(await book.written()) == number

                await until(all_heard, seconds=60)
                stop.set()

            assert waiting == number
            assert await pending(side) == 0
            assert await book.written() == list(range(1, number + 1))
            assert await book.kept() == []
