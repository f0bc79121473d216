"""What the driver raises, sorted into errors of ours, and each cause in words for the operator."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import asyncpg

from paybell.errors import DatabaseBusy, DatabaseUnavailable, Misconfigured, Outage, PaybellError

# After these nobody is at the other end, or nobody knows, or it is the wrong server.
GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what the driver says of a connection whose server has said its last word
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
    OSError,  # failures of TLS among them
    TimeoutError,
)
# After these the server has ended a statement of ours, and goes on; its neighbours are the cause.
_BUSY = (
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)
LOST = (
    *GONE,
    *_BUSY,
    asyncpg.CannotConnectNowError,
    asyncpg.InsufficientResourcesError,  # connections, disk, memory
    asyncpg.PostgresIOError,
)
MISCONFIGURED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.UndefinedTableError,
    asyncpg.ClientConfigurationError,
)
# Sessions that a pooler hands on between two transactions: statements of others, or without our own.
POOLED = (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError)

_OF_POOLER = (
    "A connection pooler in transaction mode is between us and the database; it must work in session mode."
)
_BAD_CERTIFICATE = (
    "The database's TLS certificate is not accepted ({}); name its CA's certificate as sslrootcert in the "
    "URL, and the host as the certificate does."
)
_NO_TLS = (
    "The database's server offers no TLS, which sslmode in the URL asks for; switch it on there (ssl = on)."
)
_OTHER = "The database cannot be used ({}); see its server's log."


class ConstraintViolated(PaybellError):
    """A rule of the schema refused the change; ``name`` is the constraint's."""

    def __init__(self, name: str) -> None:
        super().__init__(f"constraint {name} violated")
        self.name = name


class CommitsWait(asyncpg.TooManyConnectionsError):
    """So many commits of ours wait for a standby, and with them as many sessions as we may have."""


class AllInUse(TimeoutError):
    """No session of ours came free in time; the text says how many there are."""


class NoHost(OSError):
    """None of several hosts gives a session that can write; the text has each one's reason."""


_WORDS: Mapping[type[BaseException] | tuple[type[BaseException], ...], str] = {
    ssl.SSLError: "TLS with the database fails ({}); check the certificates at both ends.",
    asyncpg.DiskFullError: "The database's disk is full ({}); make room on its server.",
    CommitsWait: "{} commits wait for a standby that does not answer; bring it back, or wait for none.",
    AllInUse: "All {} sessions of this process were in use for too long; see pg_stat_activity.",
    asyncpg.TooManyConnectionsError: (
        "The database lets no further session in ({}); raise its limit, or lower "
        "PAYBELL_DATABASE_CONNECTIONS."
    ),
    (asyncpg.ReadOnlySQLTransactionError, asyncpg.TargetServerAttributeNotMatched): (
        "The database is a standby or read-only; its URL must lead to the primary."
    ),
    TimeoutError: "The database does not answer in time; see its server and the network to it.",
}


@contextmanager
def translated() -> Iterator[None]:
    """Raise what the driver raises as an error of ours, with the driver's as its cause."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        raise ConstraintViolated(error.constraint_name or "") from error
    except POOLED as error:
        raise Misconfigured(_OF_POOLER) from error
    except MISCONFIGURED as error:
        raise Misconfigured(
            f"The database refuses: {error}; check its URL and run paybell migrate (for a database of "
            "your own listeners paybell migrate --listeners URL)."
        ) from error
    except ssl.SSLError as error:  # some of them are a ValueError too
        raise DatabaseUnavailable from error
    except ValueError:  # an argument the driver cannot encode is a bug, not an outage
        raise
    except _BUSY as error:
        raise DatabaseBusy(f"The database ended a statement: {error}; nothing was changed.") from error
    except LOST as error:
        raise DatabaseUnavailable from error


def is_gone(error: BaseException) -> bool:
    """Say whether an error of ours means that its session must not be used again."""
    return isinstance(error, Outage) and isinstance(error.__cause__, GONE)


def cause_of(error: Outage) -> BaseException | None:
    """Return what an operator should know of an outage, if anything."""
    return None if isinstance(error, DatabaseBusy) else error.__cause__


def refusal(error: Exception) -> str:
    """Return the sentence for a server or driver that does not want our URL; never a part of it."""
    if isinstance(error, POOLED):
        return _OF_POOLER
    if isinstance(error, asyncpg.ProtocolViolationError):
        return (
            f"The server refuses how we begin ({error}); a connection pooler must work in session mode and "
            "let start parameters pass."
        )
    if isinstance(error, ssl.SSLError) or _is_no_tls(error):
        return in_words(error)
    if isinstance(error, ValueError) and not isinstance(error, asyncpg.InterfaceError):
        return "Its URL cannot be read; a password with / @ : ? # % in it must be percent-encoded."
    return f"The database refuses: {error}; check its URL."


def is_refusal(error: BaseException) -> bool:
    """Say whether waiting cannot help: what a person has to change in the URL, or at the server."""
    refused = (*MISCONFIGURED, *POOLED, asyncpg.ProtocolViolationError, ValueError, ssl.SSLError)
    return isinstance(error, refused) or _is_no_tls(error)


def unreachable(error: BaseException, waited_seconds: float = 0.0) -> str:
    """Return the sentence for a server that gives us no session."""
    if isinstance(error, NoHost | asyncpg.InsufficientResourcesError | asyncpg.InternalClientError):
        return in_words(error)
    within = f"did not answer within {waited_seconds:g} s" if waited_seconds else "does not answer"
    return f"The database {within}; check its URL and that it runs."


def in_words(error: BaseException) -> str:
    """Return what is wrong and what to do, separated by a semicolon, of what the driver raised."""
    if isinstance(error, PaybellError):  # a URL's files or an encoding, which have a sentence already
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return _BAD_CERTIFICATE.format(error.verify_message)
    if _is_no_tls(error):
        return _NO_TLS
    found = next((words for kinds, words in _WORDS.items() if isinstance(error, kinds)), _OTHER)
    return found.format(str(error) or type(error).__name__)


def _is_no_tls(error: BaseException) -> bool:
    """Say whether a server answered that it has no TLS; the driver has no class for it."""
    return isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error)
