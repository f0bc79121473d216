"""How many clients may be connected, and what one is told whose connection is ended by a bound."""

import resource
from contextlib import suppress

import msgspec
import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from paybell.errors import PaybellError, Unavailable
from paybell.settings import Settings
from paybell.telemetry.metrics import Metrics
from paybell.web.identity import identity_of, request_id_of
from paybell.web.problems import PROBLEMS
from paybell.web.refusals import PROBLEM_JSON

log = structlog.get_logger()

# Descriptors for the broker, collectors, logs and libraries; databases come on top, each of two, and what is
# opened in place of a connection that hangs.
_OTHERS = 128
_PER_DATABASE_CONNECTION = 3
_CONNECTIONS_LEAST = 16
_REPORT_SECONDS = 30.0


def raise_descriptor_limit() -> None:
    """Raise the soft limit of open files to the hard one; the lower is for programs that use ``select``."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems name a hard limit that they do not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections_max(settings: Settings) -> int:
    """Return how many clients may be connected: as many as the setting says and descriptors allow."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return settings.http_connections
    left = soft - _OTHERS - _PER_DATABASE_CONNECTION * settings.database_connections
    return min(settings.http_connections, max(_CONNECTIONS_LEAST, left))


class Connections:
    """The open connections of one listening socket."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        """Keep at most ``limit`` open."""
        self.limit = limit
        self._metrics = metrics
        self._open = 0
        self._reported = float("-inf")

    def opened(self, now: float) -> bool:
        """Count one more; say whether it is one too many."""
        self._open += 1
        self._metrics.connections.inc()
        if self._open <= self.limit:
            return True
        if now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            log.warning("connections_full", limit=self.limit)
        return False

    def closed(self) -> None:
        """Count one less."""
        self._open -= 1
        self._metrics.connections.dec()

    def refused(self, reason: str) -> None:
        """Count a connection that was ended for a reason."""
        self._metrics.connections_refused.labels(reason).inc()


def refusal_answer(refusal: type[PaybellError]) -> bytes:
    """Return the whole answer to a request that reaches no route."""
    body = msgspec.json.encode(PROBLEMS.document(refusal))
    retry = b"retry-after: %d\r\n" % refusal.retry_after_seconds if issubclass(refusal, Unavailable) else b""
    identity = b"".join(b"%b: %b\r\n" % header for header in identity_of(request_id_of([])))
    head = b"%bcontent-type: %b\r\ncontent-length: %d\r\n%bconnection: close\r\n\r\n"
    return (
        STATUS_LINE[PROBLEMS[refusal].status]
        + head % (identity, PROBLEM_JSON.encode(), len(body), retry)
        + body
    )
