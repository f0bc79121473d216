"""What an operator works with, in one place."""

from dataclasses import dataclass

from paybell.messaging.failures import FailureStore
from paybell.operations.audit import AuditTrail
from paybell.operations.monitor import Monitor
from paybell.reconciliation.reconciler import Reconciler


@dataclass(frozen=True, slots=True)
class OperatorDesk:
    """The parts of the ``ops`` role that answer questions."""

    monitor: Monitor
    failures: FailureStore
    reconciler: Reconciler
    audit: AuditTrail
