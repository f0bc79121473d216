"""The tables of the order service; orders are kept for ever."""

from importlib.resources import files

from paybell.storage.schema import Schema

SCHEMA = Schema("trade", files(__package__) / "migrations")
