"""The tables of the pay database: their scripts, and what of them is removed after a time."""

from importlib.resources import files

from paybell.idempotency.keys import retention_rules as idempotency_rules
from paybell.messaging.tables import outbox_rules
from paybell.storage import load_queries
from paybell.storage.retention import Rule
from paybell.storage.schema import Schema

_SQL = load_queries(__package__)
SCHEMA = Schema("pay", files(__package__) / "migrations")


def retention_rules(*, idempotency_days: int, inbox_days: int) -> tuple[Rule, ...]:
    """Return what is removed of the pay database; ledger, pay orders and refunds are kept for ever."""
    notices = Rule(_SQL["remove_channel_notices"], inbox_days)
    return (*idempotency_rules(idempotency_days), *outbox_rules(inbox_days=inbox_days), notices)
