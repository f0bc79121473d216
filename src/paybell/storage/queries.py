"""SQL lives in files: named blocks, each with a sentence of what it does."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import NewType

# Only `load_queries` makes one, so a type checker refuses SQL put together from strings.
Query = NewType("Query", str)

_INCLUDE = re.compile(r"^-- include: (\S+) (\w+)\n", re.MULTILINE)
_PLAN_ONCE = "-- plan once\n"
_ARRAY = re.compile(r"(\$\d+::(\w+\[\]))")
_BLOCK = re.compile(r"^-- name: (\w+)\n(.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL)


def load_queries(package: str, file_name: str = "queries.sql") -> Mapping[str, Query]:
    """Read a package's queries by name; parameters are PostgreSQL's own ``$1``, ``$2``.

    A line ``-- include: package name`` stands for a query of another package, so that one statement may do
    what several do, and each rule is written once.

    ``-- plan once`` in one that finds all its rows by keys: arrays among its parameters (``$1::bigint[]``)
    are hidden from the planner behind a subquery. Else it would find a plan for so many keys cheaper than one
    for any, and `plan anew each time
    <https://www.postgresql.org/docs/current/sql-prepare.html#SQL-PREPARE-NOTES>`_, which for a few rows costs
    as much as finding them.
    """
    return {name: Query(_planned(_complete(body))) for name, body in _blocks(package, file_name).items()}


def in_one_row(queries: Sequence[tuple[Query, str]]) -> tuple[Query, list[str]]:
    """Return a statement with a column for each of these queries, and its arguments from ``$2`` on.

    Args:
        queries: each of one value. They share ``$1``, a time, which the first column repeats; in one that
            comes with a text this text is its ``$2``.
    """
    columns, texts = ["$1::timestamptz"], []
    for query, text in queries:
        if text:
            texts.append(text)
        columns.append(f"({query.rstrip(';').replace('$2', f'${len(texts) + 1}')})")
    return Query("SELECT " + ", ".join(columns)), texts


@cache
def _blocks(package: str, file_name: str) -> Mapping[str, str]:
    text = (files(package) / file_name).read_text(encoding="utf-8")
    blocks = {name: body.strip() for name, body in _BLOCK.findall(text)}
    assert len(blocks) == text.count("-- name: "), f"two queries of {package} share a name"
    return blocks


def _planned(body: str) -> str:
    return _ARRAY.sub(r"(SELECT \1)::\2", body) if _PLAN_ONCE in body else body


def _complete(body: str) -> str:
    return _INCLUDE.sub(
        lambda line: _complete(_blocks(line[1], "queries.sql")[line[2]]).rstrip(";") + "\n", body
    )
