"""What an operator works with, in one place."""

from collections.abc import Mapping
from dataclasses import dataclass

from paybell.messaging.failures import FailureStore
from paybell.operations.monitor import Monitor
from paybell.reconciliation.reconciler import Reconciler
from paybell.storage import Database
from paybell.storage.operator_actions import OperatorAction, list_actions


@dataclass(frozen=True, slots=True)
class OperatorDesk:
    """The parts of the ``ops`` role that answer questions; ``databases`` by name."""

    monitor: Monitor
    failures: FailureStore
    reconciler: Reconciler
    databases: Mapping[str, Database]

    async def actions(self, limit: int) -> list[tuple[str, OperatorAction]]:
        """Return what operators did last, each with the name of its database, newest first."""
        found = [
            (name, action)
            for name, database in self.databases.items()
            for action in await list_actions(database, limit)
        ]
        return sorted(found, key=lambda one: one[1].at, reverse=True)[:limit]
