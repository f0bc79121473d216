"""Who consumes the order service's queues: processes of ours, each with a fresh row, and others.

Another consumer on the same queue takes messages away from us: a shop's own order service, or another
installation in the same virtual host.
"""

from collections.abc import Mapping, Sequence

import structlog

from paybell.messaging.broker import Queues, QueueState
from paybell.storage import Database, load_queries
from paybell.storage.process_rows import ProcessRows

log = structlog.get_logger()
_SQL = load_queries(__package__)
BEAT_SECONDS = 10.0
# A broker lets go of a dead process's subscription within its heartbeat of 60 s; the row lives longer.
FRESH_SECONDS = 90.0
# For a moment a listener that renews its subscription has two; what stays for so many looks is somebody's.
LOOKS = 3


class Presence(ProcessRows):
    """The rows of one process: the queues it listens on."""

    def __init__(self, database: Database, queues: Sequence[str]) -> None:
        async def write(database: Database, process: int) -> None:
            await database.fetch(_SQL["beat"], process, queues)

        super().__init__(database, write, _SQL["forget_process"], period_seconds=BEAT_SECONDS)


async def processes(database: Database) -> Mapping[str, int]:
    """Return how many processes of ours listen on each queue.

    Raises:
        DatabaseUnavailable: it cannot be reached.
    """
    rows = await database.fetch(_SQL["count_processes"], FRESH_SECONDS)
    return {row["queue"]: row["processes"] for row in rows}


class ForeignConsumers:
    """Finds them; ``look`` is the step of a loop, and says it in the log when their number has changed."""

    def __init__(self, database: Database, broker: Queues, queues: Sequence[str]) -> None:
        self._database = database
        self._broker = broker
        self._queues = queues
        self._seen: dict[str, list[int]] = {queue: [] for queue in queues}
        self._said: dict[str, int] = dict.fromkeys(queues, 0)

    async def find(self, states: Mapping[str, QueueState | None]) -> Mapping[str, int]:
        """Return how many were there at each of the last looks, this one included, for each of its queues.

        Raises:
            DatabaseUnavailable: it cannot be asked who we are.
        """
        ours = await processes(self._database)
        found = {}
        for queue, state in states.items():
            others = state.consumers - ours[queue] if state and queue in ours else 0
            looks = self._seen[queue] = [*self._seen[queue], others][-LOOKS:]
            found[queue] = max(0, min(looks)) if len(looks) == LOOKS else 0
        return found

    async def look(self) -> int:
        """Look once, and log what has changed; return 0, so that the loop stays slow."""
        states = {queue: await self._broker.look_at(queue) for queue in self._queues}
        for queue, others in (await self.find(states)).items():
            if others != self._said[queue]:
                self._said[queue] = others
                log.warning(
                    "foreign_consumers",
                    queue=queue,
                    count=others,
                    detail="Consumers that are not Paybell's take messages that trade would apply. With an "
                    "order service of your own do not run the role trade; with another installation use a "
                    "virtual host for each.",
                )
        return 0
