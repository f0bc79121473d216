"""What a listener has in hand, and why some of it could not be applied.

A *failure* is a delivery that a listener could not apply: it waits for another attempt (``retry``) or
for a person (``dead``), and then it is called a dead letter. All of it is pure; `failure_rows` has the rows.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from paybell.backoff import listener_retry
from paybell.errors import PaybellError
from paybell.messaging.broker import Delivery
from paybell.tracecontext import trace_id_of

# Waits while a service that is to be asked is away: as long as it has been away already, within these.
POSTPONED_FIRST_SECONDS, POSTPONED_MOST_SECONDS = 5.0, 60.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A delivery in hand: from the broker, or a failure that is due, with its row and what it came to."""

    delivery: Delivery
    row_id: int = 0
    event_id: str = ""
    attempts: int = 0
    failing_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an arrival was not applied, and when to try again (None: it is dead).

    ``cause`` is what somebody's code raised, for the log; None where the reason says it all.
    """

    event_id: str
    delivery: Delivery
    reason: str
    error: str
    attempts: int
    due_at: datetime | None
    row_id: int = 0
    cause: Exception | None = None

    @property
    def state(self) -> Literal["retry", "dead"]:
        """Waiting for another attempt, or waiting for a person."""
        return "dead" if self.due_at is None else "retry"

    def summary(self) -> dict[str, object]:
        """Return what a log may hold of it: nothing of the body or of the error's text."""
        traceparent = self.delivery.headers.get("traceparent")
        return {
            "event_id": self.event_id,
            "reason": self.reason,
            "attempts": self.attempts,
            "state": self.state,
            "trace_id": trace_id_of(traceparent) if isinstance(traceparent, str) else "",
        }


def identity(delivery: Delivery) -> str:
    """Name an unreadable delivery by what it is, so that a redelivery is not a second dead letter."""
    digest = hashlib.sha256(delivery.body)
    digest.update(repr((delivery.message_id, delivery.content_type)).encode("utf-8", "replace"))
    return f"sha256:{digest.hexdigest()}"


def fingerprint(delivery: Delivery) -> str:
    """Name what was received, whatever id it claims: the same however often it is published or delivered."""
    headers = sorted(
        repr((name, value))
        for name, value in delivery.headers.items()
        # x-: the broker's own, counts of deliveries. Whoever sends anything may send names that are no text.
        if name != "traceparent" and not str(name).startswith("x-")
    )
    digest = hashlib.sha256(delivery.body)
    digest.update(repr((delivery.content_type, headers)).encode("utf-8", "replace"))
    return digest.hexdigest()


def dead(arrival: Arrival, event_id: str, reason: str, error: str) -> Failure:
    """Return the failure of an arrival that another attempt cannot change."""
    return Failure(event_id, arrival.delivery, reason, error, arrival.attempts + 1, None, arrival.row_id)


def failed(arrival: Arrival, event_id: str, error: Exception, now: datetime) -> Failure:
    """Return the failure after one more attempt: due later, or dead when they are used up."""
    attempts = arrival.attempts + 1
    wait = listener_retry(attempts)
    due_at = None if wait is None else now + timedelta(seconds=wait)
    return _failure(arrival, event_id, error, attempts, due_at)


def postponed(arrival: Arrival, event_id: str, error: Exception, now: datetime) -> Failure:
    """Return the failure of an arrival that could not be decided on: no attempt is used up."""
    failing_seconds = (now - (arrival.failing_since or now)).total_seconds()
    wait = min(max(failing_seconds, POSTPONED_FIRST_SECONDS), POSTPONED_MOST_SECONDS)
    return _failure(arrival, event_id, error, arrival.attempts, now + timedelta(seconds=wait))


def _failure(
    arrival: Arrival, event_id: str, error: Exception, attempts: int, due_at: datetime | None
) -> Failure:
    code = getattr(error, "code", "")
    reason = code if isinstance(code, str) and code else "listener_failed"
    text = f"{type(error).__name__}: {error}"
    cause = None if isinstance(error, PaybellError) else error
    return Failure(event_id, arrival.delivery, reason, text, attempts, due_at, arrival.row_id, cause)
