"""What a process tells the console of its settlements: how many there were, and the seconds they took."""

from collections.abc import Callable

from paybell.storage import Database, load_queries
from paybell.storage.process_rows import ProcessRows

_SQL = load_queries(__package__)
# Twice as often as the console looks, so that each look finds something new.
BEAT_SECONDS = 1.0
# A process that settles nothing says only that it is there, in every so many beats.
_QUIET_BEATS = 4


class SettleTimes(ProcessRows):
    """The row of one process; ``settled`` returns both figures, counted since the process began."""

    def __init__(self, database: Database, settled: Callable[[], tuple[float, float]]) -> None:
        said, quiet = (0.0, 0.0), _QUIET_BEATS

        async def write(database: Database, process: int) -> None:
            nonlocal said, quiet
            now, quiet = settled(), quiet + 1
            if now != said or quiet >= _QUIET_BEATS:
                await database.fetch(_SQL["say_settle_time"], process, int(now[0]), now[1])
                said, quiet = now, 0

        super().__init__(database, write, _SQL["forget_settle_times"], period_seconds=BEAT_SECONDS)
