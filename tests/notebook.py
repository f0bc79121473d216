"""A listener for tests that writes down what it applies, and may be told to fail in every way."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from support import connected

from paybell.backoff import LISTENER_RETRY_SECONDS
from paybell.clock import Clock
from paybell.messaging import Binding, Exchange, PaymentSucceeded, Queue, Rejected, listener
from paybell.messaging.broker import Broker, Delivery, Message
from paybell.messaging.failures import FailureStore
from paybell.messaging.listener import Screen
from paybell.messaging.listener_runner import ListenerRunner
from paybell.messaging.local import LocalBroker
from paybell.storage import Database, Query, Record, Transaction
from paybell.telemetry.observers import Observer
from paybell.testing import FrozenClock

BINDING = Binding(Queue("notebook"), Exchange("pay.direct"), "pay.success")


class Notebook:
    """Writes each event's number into a table that would take it twice.

    ``fails``: errors it raises at a number, after writing it down. ``rejects``: reasons it gives for a
    number. ``runs``: statements it runs at a number. ``dies``: numbers at which its database connection
    is killed, once for each time listed. ``tried`` are the numbers of each batch it was given.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        broker: Broker,
        *,
        batch_max: int = 500,
        screen: Screen[PaymentSucceeded] | None = None,
        binding: Binding = BINDING,
    ) -> None:
        """Use `notebook`."""
        self.database = database
        self.broker = broker
        self.fails: dict[int, Exception] = {}
        self.rejects: dict[int, str] = {}
        self.runs: dict[int, Query] = {}
        self.dies: list[int] = []
        self.tried: list[list[int]] = []
        self.failures = FailureStore(database)
        self.runner = ListenerRunner(
            listener(binding, screen=screen, verify=False)(self._write),
            broker,
            database,
            clock,
            Observer(),
            batch_max=batch_max,
        )

    async def _write(self, events: Sequence[PaymentSucceeded], tx: Transaction) -> list[Rejected]:
        self.tried.append([event.biz_order_no for event in events])
        rejected = [
            Rejected(event.event_id, self.rejects[event.biz_order_no])
            for event in events
            if event.biz_order_no in self.rejects
        ]
        accepted = [event.biz_order_no for event in events if event.biz_order_no not in self.rejects]
        await tx.execute(Query("INSERT INTO notebook SELECT unnest($1::bigint[])"), accepted)
        for number in accepted:
            if number in self.dies:
                self.dies.remove(number)
                await tx.execute(Query("SELECT pg_terminate_backend(pg_backend_pid())"))
            if number in self.runs:
                await tx.execute(self.runs[number])
            if number in self.fails:
                raise self.fails[number]
        return rejected

    async def written(self) -> list[int]:
        """Return every number written down, in order."""
        rows = await self.database.fetch(Query("SELECT number FROM notebook ORDER BY number"))
        return [row["number"] for row in rows]

    async def remembered(self) -> list[int]:
        """Return every number the inbox knows, in order."""
        rows = await self.database.fetch(Query("SELECT event_id FROM inbox"))
        return sorted(int(row["event_id"].removeprefix("pay.success:")) for row in rows)

    async def kept(self) -> list[Record]:
        """Return the failed deliveries, all columns."""
        return list(await self.database.fetch(Query("SELECT * FROM failed_deliveries ORDER BY id")))


@asynccontextmanager
async def notebook(
    url: str,
    clock: Clock,
    broker: Broker | None = None,
    *,
    batch_max: int = 500,
    screen: Screen[PaymentSucceeded] | None = None,
    binding: Binding = BINDING,
) -> AsyncIterator[Notebook]:
    """Open one in a trade database; several may share it, as processes do."""
    async with connected(url) as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS notebook (number bigint NOT NULL)")
    async with Database.open(url, clock) as database:
        yield Notebook(
            database, clock, broker or LocalBroker(), batch_max=batch_max, screen=screen, binding=binding
        )


def deliveries(*bodies: int | bytes, headers: Mapping[str, object] | None = None) -> list[Delivery]:
    """Make deliveries of these order numbers or bodies, as a broker hands them over."""
    return [
        Delivery(
            tag=tag,
            exchange="pay.direct",
            routing_key="pay.success",
            body=body if isinstance(body, bytes) else str(body).encode(),
            content_type="text/x-json",
            message_id=f"message-{tag}",
            headers=headers or {},
        )
        for tag, body in enumerate(bodies, 1)
    ]


def bare(number: int, attempt: int = 1, *, key: str = "pay.success") -> Message:
    """Make the message of the article: a bare order number on pay.success."""
    return Message(
        exchange="pay.direct",
        routing_key=key,
        body=str(number).encode(),
        message_id=f"{number}#{attempt}",
        content_type="text/x-json",
        type="pay.success",
        timestamp=datetime(2026, 1, 1, tzinfo=UTC),
    )


def event_members(event_id: str) -> dict[str, object]:
    """Return the members of a typed event: order 5001 of merchant 1 was paid."""
    moment = "2026-01-01T00:00:00Z"
    data: dict[str, object] = {
        "payOrderId": "1", "bizOrderNo": "5001", "merchantId": "1", "payerId": "7", "amount": 100,
        "currency": "CNY", "subject": "", "status": "TRADE_SUCCESS", "version": 2, "createdAt": moment,
        "expiresAt": moment, "succeededAt": moment,
    }  # fmt: skip
    return {
        "id": event_id, "type": "pay.success", "time": moment, "subject": "5001", "data": data,
        "traceparent": "", "source": "/paybell/pay", "specversion": "1.0",
    }  # fmt: skip


async def exhaust(book: Notebook, clock: FrozenClock) -> None:
    """Let every retry come due and fail."""
    for wait in LISTENER_RETRY_SECONDS:
        clock.advance(wait)
        await book.runner.retry_once()
