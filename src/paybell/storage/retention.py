"""Removing what is old, in small pieces: no statement holds a lock for long, and nobody who pays waits."""

from dataclasses import dataclass
from datetime import timedelta

from paybell.storage.database import Database
from paybell.storage.queries import Query

# Rows of one transaction: a few milliseconds.
PIECE = 1_000
_DAY = timedelta(days=1)
# What is old can wait; a piece found is followed by the next at once.
CLEAN_IDLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Rule:
    """What is removed, and after how many days; each context hands out those of its tables."""

    query: Query
    days: int


class Cleaner:
    """Removes a piece at a time; any number may run."""

    def __init__(self, database: Database, rules: tuple[Rule, ...]) -> None:
        self._database = database
        self._rules = rules

    async def run_once(self) -> int:
        """Remove one piece for each rule; return how many rows that were."""
        return sum([await self._remove(rule) for rule in self._rules])

    async def _remove(self, rule: Rule) -> int:
        async with self._database.transaction() as tx:
            return await tx.execute(rule.query, tx.now - rule.days * _DAY, PIECE)
