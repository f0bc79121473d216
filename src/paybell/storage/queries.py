"""SQL lives in files: named blocks, each with a sentence of what it does."""

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import NewType

# Only `load_queries` makes one, so a type checker refuses SQL put together from strings.
Query = NewType("Query", str)

_BLOCK = re.compile(r"^-- name: (\w+)\n(.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL)


def load_queries(package: str, file_name: str = "queries.sql") -> Mapping[str, Query]:
    """Read a package's queries by name; parameters are PostgreSQL's own ``$1``, ``$2``."""
    text = (files(package) / file_name).read_text(encoding="utf-8")
    queries = {name: Query(body.strip()) for name, body in _BLOCK.findall(text)}
    assert len(queries) == text.count("-- name: "), f"two queries of {package} share a name"
    return queries
