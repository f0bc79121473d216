"""PostgreSQL: connections, transactions, migrations, the embedded server."""

from paybell.storage.database import ConstraintViolated, Database, Record, Transaction
from paybell.storage.queries import Query, load_queries

__all__ = ["ConstraintViolated", "Database", "Query", "Record", "Transaction", "load_queries"]
