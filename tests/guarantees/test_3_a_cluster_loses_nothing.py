"""Three RabbitMQ nodes with a quorum queue: one dies, one is cut off, and payments go on being heard of."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count

import pytest
from notebook import Notebook, notebook
from relaying import pay, pending, relay
from support import PaySide, until

from paybell.clock import SystemClock
from paybell.messaging import Binding, Exchange, Queue
from paybell.messaging.broker import Topology
from paybell.messaging.events import PAY_EVENTS
from paybell.messaging.rabbitmq.broker import RabbitBroker
from paybell.storage import Database
from paybell.testing.rabbitmq_install import ensure_installed
from paybell.testing.rabbitmq_node import RabbitmqNode
from paybell.worker import Loop, Task, run_loop, run_task

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]

NODES, COPIES, BATCH = 3, 2, 20
# A quiet machine needs less than 15 s; on one whose cores are taken, three nodes elect a leader more slowly.
PAUSE_MOST_SECONDS = 60.0
QUEUE = Binding(Queue("notebook", "quorum"), Exchange("pay.direct"), "pay.success")


@contextmanager
def cluster() -> Iterator[list[RabbitmqNode]]:
    """Three nodes on this machine, the second and third joined to the first."""
    ensure_installed(print)
    with ExitStack() as stack:
        nodes = [stack.enter_context(RabbitmqNode.start(cookie="of the cluster")) for _ in range(NODES)]
        for node in nodes[1:]:
            node.join_cluster(nodes[0])
        yield nodes


def leader(nodes: list[RabbitmqNode], alive: RabbitmqNode) -> RabbitmqNode:
    """Return the node that leads the quorum queue, as a living one sees it."""
    name = alive.ctl("list_queues", "--no-table-headers", "leader")
    return next(node for node in nodes if node.name in name)


def cut_off(node: RabbitmqNode) -> None:
    """Let it and the others refuse each other."""
    node.evaluate("[begin erlang:set_cookie(N, wrong), erlang:disconnect_node(N) end || N <- nodes()]")


def let_in(node: RabbitmqNode) -> None:
    """Let them hear of each other again."""
    node.evaluate("[erlang:set_cookie(N, erlang:get_cookie()) || N <- mnesia_lib:all_nodes(), N =/= node()]")


async def sees(node: RabbitmqNode, number: int) -> None:
    """Wait until so many nodes run together with it, itself included."""

    async def so_many() -> bool:
        return int(await asyncio.to_thread(node.evaluate, "length(rabbit_nodes:all_running())")) == number

    await until(so_many, seconds=60)


@dataclass(slots=True)
class Traffic:
    """Payments without a pause, two relays, two listeners; remembers the longest silence at the listeners."""

    side: PaySide
    book: Notebook
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    paid: list[int] = field(default_factory=list)
    silence_seconds: float = 0.0
    paying: asyncio.Task[None] | None = None

    async def pay(self) -> None:
        """Pay batch after batch, each once the one before is heard of: so a silence has one length."""
        clock, numbers = SystemClock(), count(5001)
        while not self.stop.is_set():
            batch = [next(numbers) for _ in range(BATCH)]
            await pay(self.side, *batch)
            self.paid += batch
            began = clock.monotonic()
            await until(partial(self.heard, len(self.paid)), seconds=60)
            self.silence_seconds = max(self.silence_seconds, clock.monotonic() - began)

    async def heard(self, number: int) -> bool:
        """Say whether so many payments were heard of."""
        return len(await self.book.written()) >= number

    async def goes_on(self) -> None:
        """Wait for the next batch to be paid and heard of."""
        await until(partial(self.heard, len(self.paid) + BATCH), seconds=60)

    async def end(self) -> None:
        """Pay no more; return once the last payment is heard of."""
        self.stop.set()
        if self.paying:
            await self.paying


@asynccontextmanager
async def traffic(urls: list[str], pay_database: Database, trade_url: str) -> AsyncIterator[Traffic]:
    """Start it, each part with a broker connection of its own that knows all nodes, in another order."""
    clock, declares = SystemClock(), Topology([QUEUE.exchange, PAY_EVENTS], [QUEUE])
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        side = PaySide(pay_database)
        await side.fund("7", 10**9)
        books: list[Notebook] = []
        over = asyncio.Event()
        for copy in range(COPIES):
            hosts = ",".join(urls[copy:] + urls[:copy])
            publishing, consuming = RabbitBroker(hosts), RabbitBroker(hosts)
            stack.push_async_callback(publishing.close)
            stack.push_async_callback(consuming.close)
            publisher = relay(side.outbox, publishing, declares=declares, lease_seconds=8)
            for name, step in (("relay", publisher.run_once), ("retries", publisher.retry_once)):
                group.create_task(run_loop(Loop(name, step), over, clock))
            book = await stack.enter_async_context(notebook(trade_url, clock, consuming, binding=QUEUE))
            group.create_task(run_task(Task("listener", book.runner.run), over, clock))
            books.append(book)
        flow = Traffic(side, books[0])
        flow.paying = group.create_task(flow.pay())
        try:
            yield flow
        finally:
            await flow.end()
            over.set()


async def test_a_leader_that_dies_and_a_node_that_is_cut_off_lose_nothing(
    pay_database: Database, trade_url: str
) -> None:
    """Each payment is heard of once, and never is there silence for long."""
    with ExitStack() as stack:
        nodes = await asyncio.to_thread(stack.enter_context, cluster())
        async with traffic([node.url for node in nodes], pay_database, trade_url) as flow:
            await flow.goes_on()

            dying = await asyncio.to_thread(leader, nodes, nodes[0])
            await asyncio.to_thread(dying.kill)
            await flow.goes_on()
            await asyncio.to_thread(dying.restart)
            await flow.goes_on()

            far = await asyncio.to_thread(leader, nodes, dying)
            other = next(node for node in nodes if node is not far)
            await sees(other, NODES)
            await asyncio.to_thread(cut_off, far)
            await sees(other, NODES - 1)
            await flow.goes_on()
            await asyncio.to_thread(let_in, far)
            await sees(other, NODES)
            await flow.goes_on()

            await flow.end()
            assert await flow.book.written() == flow.paid
            assert await flow.book.kept() == []
            assert await pending(flow.side) == 0
            assert flow.silence_seconds <= PAUSE_MOST_SECONDS
