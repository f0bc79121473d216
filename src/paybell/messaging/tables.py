"""The tables of messaging: for listeners a schema of their own, which any database may hold."""

from importlib.resources import files

from paybell.storage import load_queries
from paybell.storage.retention import Rule
from paybell.storage.schema import Schema

_SQL = load_queries(__package__)
SCHEMA = Schema("listeners", files(__package__) / "migrations")


def outbox_rules(*, inbox_days: int) -> tuple[Rule, ...]:
    """Return what is removed beside an outbox; nothing leads to its batches once inboxes have forgotten."""
    return (Rule(_SQL["remove_relay_batches"], inbox_days),)


def listener_rules(*, inbox_days: int, dead_letter_days: int) -> tuple[Rule, ...]:
    """Return what is removed of a database with listeners."""
    return (Rule(_SQL["remove_inbox"], inbox_days), Rule(_SQL["remove_dead_letters"], dead_letter_days))
