"""Opening a session: all hosts of a URL at once, to a primary, in UTF-8, with limits of our own."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from paybell.errors import Misconfigured
from paybell.storage.driver_errors import NoHost

# A string: the driver's class is generic for type checkers only.
Session: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
_DEFAULT_PORT = 5432
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_ELSEWHERE = (OSError, TimeoutError, asyncpg.InternalClientError, asyncpg.CannotConnectNowError)


async def open_session(url: str, **options: Any) -> Session:
    """Open a session that can write; of several hosts the first that has one wins.

    Args:
        url: of the database; ``target_session_attrs`` in it is of no account.
        options: as of `asyncpg.connect`; ``timeout`` (seconds) is each host's own.

    Raises:
        Misconfigured: a file that the URL names cannot be read, or the encoding is not UTF-8.
        Exception: whatever the driver raises.
    """
    _check_files(url)
    options |= {"target_session_attrs": "read-write"}
    listed = hosts(url)
    session = await (_first(url, listed, options) if len(listed) > 1 else asyncpg.connect(url, **options))
    encoding = getattr(session.get_settings(), "server_encoding", "UTF8")
    if encoding != "UTF8":
        session.terminate()
        raise Misconfigured(
            f"The database has the encoding {encoding}, which cannot hold every name; make it anew: "
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
        )
    return session


def hosts(url: str) -> Sequence[tuple[str, int]]:
    """Return hosts and ports that a URL lists, as libpq reads it; ports of sockets name them."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    place = parts.netloc.partition("@")[2] if "@" in parts.netloc else parts.netloc
    names = unquote(place or query.get("host", [""])[-1]).split(",")
    ports = query.get("port", [os.environ.get("PGPORT") or str(_DEFAULT_PORT)])[-1].split(",")
    return [_host(name, ports[min(index, len(ports) - 1)]) for index, name in enumerate(names)]


def _host(name: str, port: str) -> tuple[str, int]:
    host, colon, own = name.rpartition(":")
    if not colon or name.startswith("/") or name.endswith("]"):
        host, own = name, port
    return host.removeprefix("[").removesuffix("]"), int(own)


def _check_files(url: str) -> None:
    named = parse_qs(urlsplit(url).query)
    for name in _FILES:
        path = named.get(name, [""])[-1]
        if path and not os.access(path, os.R_OK):
            raise Misconfigured(
                f"Its URL names {path} as {name}, which cannot be read; give a readable file."
            )


async def _first(url: str, listed: Sequence[tuple[str, int]], options: Mapping[str, Any]) -> Session:
    """Ask all hosts at once: one that is silent costs nothing while another one answers."""
    asked = [
        asyncio.create_task(asyncpg.connect(url, host=host, port=port, **options)) for host, port in listed
    ]
    winner: Session | None = None
    try:
        for answer in asyncio.as_completed(asked):
            with suppress(Exception):  # every host's reason is weighed below
                winner = await answer
                return winner
    finally:
        for task in asked:
            task.cancel()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for late in answers:
            if isinstance(late, asyncpg.Connection) and late is not winner:
                late.terminate()
    errors = [answer for answer in answers if isinstance(answer, Exception)]
    if not any(isinstance(error, _ELSEWHERE) for error in errors):
        raise errors[0]
    reasons = zip(listed, errors, strict=True)
    raise NoHost(
        ", ".join(f"{host}:{port}: {error or type(error).__name__}" for (host, port), error in reasons)
    )
