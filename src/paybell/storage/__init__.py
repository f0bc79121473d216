"""PostgreSQL: connections, transactions, migrations, the embedded server."""

from paybell.storage.database import Database
from paybell.storage.driver_errors import ConstraintViolated
from paybell.storage.due import DueWatch
from paybell.storage.queries import Query, load_queries
from paybell.storage.session_limits import READING, WATCHING
from paybell.storage.transaction import Record, Transaction

__all__ = [
    "READING",
    "WATCHING",
    "ConstraintViolated",
    "Database",
    "DueWatch",
    "Query",
    "Record",
    "Transaction",
    "load_queries",
]
