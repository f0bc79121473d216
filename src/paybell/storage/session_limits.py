"""How long the server lets our sessions hold what others may need, and what else each session is set to."""

from dataclasses import dataclass

from paybell.storage.sessions import open_session


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the server lets a session's statement run, and its transaction wait for the next one."""

    statement_seconds: int
    idle_seconds: int


SERVING = Limits(statement_seconds=6, idle_seconds=4)
# A command that reads everything, in pieces of a second on a good day; nobody waits for what it holds.
READING = Limits(statement_seconds=600, idle_seconds=60)
# Somebody looks every few seconds, and would rather see nothing than be late.
WATCHING = Limits(statement_seconds=1, idle_seconds=4)
_SERVER_SETTINGS = {
    "application_name": "paybell",
    # Each statement sees what is committed, whatever the server's default: what is locked is read then.
    "default_transaction_isolation": "read committed",
    "lock_timeout": "5s",
    "jit": "off",
    # A machine that vanished does not close its connections; over TCP the server asks after 4 s.
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
# The others do not run while the server waits for the rest of what a client has begun to say; this one does.
_TRANSACTION_TIMEOUT = {"transaction_timeout": "8s"}
KNOWS_TRANSACTION_TIMEOUT = 17


async def session_settings(url: str, timeout_seconds: float, limits: Limits) -> dict[str, str]:
    """Return the settings of every session; a server refuses those it is too old for."""
    session = await open_session(url, timeout=timeout_seconds)
    try:
        major = session.get_server_version().major
    finally:
        await session.close()
    bounds = {
        "statement_timeout": f"{limits.statement_seconds}s",
        "idle_in_transaction_session_timeout": f"{limits.idle_seconds}s",
    }
    settings = _SERVER_SETTINGS | bounds
    return settings | (_TRANSACTION_TIMEOUT if major >= KNOWS_TRANSACTION_TIMEOUT else {})
