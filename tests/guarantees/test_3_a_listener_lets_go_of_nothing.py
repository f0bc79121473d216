"""Promise 3: no outage and no death of a listener makes a broker that counts deliveries drop any of them."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from amqp import stranger, unique
from notebook import Notebook, bare, notebook
from structlog.testing import capture_logs
from support import connected, until

from paybell.clock import SystemClock
from paybell.messaging import Binding, Exchange, PaymentSucceeded, Queue, listener
from paybell.messaging.broker import Confirm, Topology
from paybell.messaging.listener import Verdicts
from paybell.messaging.listener_runner import ListenerRunner
from paybell.messaging.rabbitmq.broker import RabbitBroker
from paybell.storage import Database, Query, Transaction
from paybell.telemetry.observers import Observer
from paybell.testing.rabbitmq_install import ensure_installed
from paybell.testing.rabbitmq_node import RabbitmqNode
from paybell.worker import Task, run_task

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]
_processes = multiprocessing.get_context("forkserver")
QueueType = Literal["classic", "quorum"]
BOTH = pytest.mark.parametrize("queue_type", ["classic", "quorum"])


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitmqNode]:
    """A node that drops what it has delivered too often, as RabbitMQ 4 does by itself."""
    ensure_installed(print)
    with RabbitmqNode.start() as started:
        started.ctl("set_policy", "--apply-to", "queues", "limited", ".*", '{"delivery-limit":20}')
        yield started


def binding_of(queue_type: QueueType) -> Binding:
    """A queue of this type that no other test uses."""
    return Binding(Queue(unique(queue_type), queue_type), Exchange("pay.direct"), unique("paid"))


async def fill(url: str, binding: Binding, numbers: Sequence[int]) -> None:
    """Put order numbers into a queue."""
    broker = RabbitBroker(url)
    try:
        await broker.declare(Topology([binding.exchange], [binding]))
        messages = [bare(number, key=binding.key) for number in numbers]
        assert await broker.publish(messages, 20) == [Confirm.CONFIRMED] * len(messages)
    finally:
        await broker.close()


class Away:
    """The way to a database, through a folder that can be taken away under everybody."""

    def __init__(self, url: str, folder: Path) -> None:
        """Lead to the server of a URL."""
        self.direct = url
        place, _, socket_folder = url.partition("?host=")
        self._folder, self._real = folder, Path(socket_folder)
        self.url = f"{place}?host={folder}"
        folder.symlink_to(self._real)

    async def take(self) -> None:
        """End every session, and let no new one in."""
        self._folder.unlink()
        async with connected(self.direct) as operator:
            await operator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def give_back(self) -> None:
        """Let everybody in again."""
        self._folder.symlink_to(self._real)


class CountingClock(SystemClock):
    """Knows for how long somebody has waited in all."""

    waited = 0.0

    async def sleep(self, seconds: float) -> None:
        """Wait, and add it up."""
        await super().sleep(seconds)
        self.waited += seconds


async def hold_through_an_outage(
    node: RabbitmqNode, away: Away, queue_type: QueueType, *, messages: int, seconds: float
) -> None:
    """Take the listener's database away before the first message, for so long; all are applied once."""
    clock, stop, binding = CountingClock(), asyncio.Event(), binding_of(queue_type)

    async with Database.open(away.url, clock) as asked, notebook(away.direct, clock) as truth:

        async def screen(events: Sequence[PaymentSucceeded]) -> Verdicts:
            del events
            await asked.check()  # as the proof of a payment reads its order
            return {}

        broker = RabbitBroker(node.url)
        async with Database.open(away.url, clock) as database:
            book = Notebook(database, clock, broker, screen=screen, binding=binding)
            await away.take()
            await fill(node.url, binding, range(1, messages + 1))
            running = asyncio.create_task(run_task(Task("listener", book.runner.run), stop, clock))
            with capture_logs() as logs:

                async def has_waited() -> bool:
                    return clock.waited >= seconds

                await until(has_waited, seconds=seconds + 30)
                assert (state := await broker.look_at(binding.queue.name))
                assert state.consumers == 1
                away.give_back()

                async def applied() -> bool:
                    return len(await truth.written()) >= messages

                await until(applied, seconds=60)
                stop.set()
                await running
            assert [line for line in logs if line["event"].startswith("loop_")] == []
        await broker.close()
        assert await truth.written() == await truth.remembered() == list(range(1, messages + 1))
        assert await truth.kept() == []


@BOTH
async def test_an_outage_of_the_database_ends_no_consumer_and_costs_no_delivery(
    node: RabbitmqNode, trade_url: str, tmp_path: Path, queue_type: QueueType
) -> None:
    """Also while it is the screen that needs the database; what was in hand is applied when it is back."""
    away = Away(trade_url, tmp_path / "way")
    await hold_through_an_outage(node, away, queue_type, messages=100, seconds=5)


@dataclass(frozen=True)
class Deadly:
    """A queue with so many events in it, one of which kills the process that handles it."""

    amqp_url: str
    trade_url: str
    binding: Binding
    events: int
    killer: int
    batch_max: int


def _listen(deadly: Deadly) -> None:
    asyncio.run(_listen_until_done(deadly))


async def _listen_until_done(deadly: Deadly) -> None:
    """Be a process that one event kills; end well when every event is on disk."""
    clock, stop = SystemClock(), asyncio.Event()

    @listener(deadly.binding, verify=False)
    async def write(events: Sequence[PaymentSucceeded], tx: Transaction) -> None:
        numbers = [event.biz_order_no for event in events]
        await tx.execute(Query("INSERT INTO notebook SELECT unnest($1::bigint[])"), numbers)
        if deadly.killer in numbers:
            os.kill(os.getpid(), signal.SIGKILL)

    broker = RabbitBroker(deadly.amqp_url)
    async with Database.open(deadly.trade_url, clock) as database:
        runner: ListenerRunner[PaymentSucceeded] = ListenerRunner(
            write, broker, database, clock, Observer(), batch_max=deadly.batch_max
        )

        async def done() -> bool:
            row = await database.fetch_one(_DONE)
            return row is not None and row["done"] >= deadly.events

        running = asyncio.create_task(run_task(Task("listener", runner.run), stop, clock))
        await until(done, seconds=60)
        stop.set()
        await running
    await broker.close()


_DONE = Query("SELECT (SELECT count(*) FROM notebook) + (SELECT count(*) FROM failed_deliveries) AS done")


async def starts_until_done(deadly: Deadly) -> int:
    """Start a listener that one event kills until all events are on disk; return how often it was started."""
    await fill(deadly.amqp_url, deadly.binding, range(1, deadly.events + 1))
    for starts in range(1, 31):
        process = _processes.Process(target=_listen, args=[deadly], daemon=True)
        process.start()
        await asyncio.to_thread(process.join)
        if process.exitcode == 0:
            with stranger(deadly.amqp_url) as outside:
                assert outside.depth(deadly.binding.queue.name) == 0
            return starts
        assert process.exitcode == -signal.SIGKILL
    raise AssertionError("it goes on dying")


@BOTH
async def test_an_event_that_kills_its_process_is_set_aside_and_the_others_are_applied(
    node: RabbitmqNode, trade_url: str, queue_type: QueueType
) -> None:
    """It is searched for in ever smaller pieces, from death to death, and kept with its reason."""
    async with notebook(trade_url, SystemClock()) as truth:
        deadly = Deadly(node.url, trade_url, binding_of(queue_type), events=60, killer=23, batch_max=20)
        starts = await starts_until_done(deadly)

        others = [number for number in range(1, 61) if number != 23]
        assert await truth.written() == await truth.remembered() == others
        (row,) = await truth.kept()
        assert (row["event_id"], row["state"], row["reason"]) == ("pay.success:23", "dead", "listener_died")
        assert starts <= 10
        assert not await truth.database.fetch(Query("SELECT * FROM suspected_deliveries"))
