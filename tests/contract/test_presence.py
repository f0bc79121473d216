"""Who consumes the order service's queues: what the log says of others."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from presence import present
from structlog.testing import capture_logs
from support import connected

from paybell.messaging.broker import QueueState
from paybell.messaging.events import TRADE_QUEUE
from paybell.storage import Database
from paybell.trade.presence import LOOKS, ForeignConsumers, processes


@dataclass
class Counted:
    """A broker with so many consumers on each queue."""

    consumers: int

    async def look_at(self, queue: str) -> QueueState | None:
        """Return them."""
        del queue
        return QueueState(0, self.consumers)


@contextmanager
def said() -> Iterator[list[int]]:
    """Collect how many others the log speaks of."""
    counts: list[int] = []
    with capture_logs() as logs:
        yield counts
    counts += [line["count"] for line in logs if line["event"] == "foreign_consumers"]


async def test_more_consumers_than_processes_of_ours_are_told_once(trade_database: Database) -> None:
    """And their going; not a subscription that is renewed, which makes two for a moment."""
    broker = Counted(2)
    async with present(trade_database), present(trade_database):
        others = ForeignConsumers(trade_database, broker, [TRADE_QUEUE])
        with said() as counts:
            for consumers in (2, 3, 2, 2, *[4] * (LOOKS + 3), 2, 2):
                broker.consumers = consumers
                await others.look()
        assert counts == [2, 0]
        assert await processes(trade_database) == {TRADE_QUEUE: 2}
    assert await processes(trade_database) == {}


async def test_without_a_process_of_ours_nobody_takes_anything_away(
    trade_database: Database, trade_url: str
) -> None:
    """One that died without a word is forgotten after a while."""
    others = ForeignConsumers(trade_database, Counted(1), [TRADE_QUEUE])
    with said() as counts:
        async with present(trade_database), connected(trade_url) as rows:
            await rows.execute("UPDATE listening_processes SET seen_at = seen_at - interval '91 seconds'")
            for _ in range(LOOKS + 1):
                await others.look()
    assert counts == []
