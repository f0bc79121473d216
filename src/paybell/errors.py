"""Every error Paybell raises, sorted by who has to act.

    PaybellError
      Refused         the caller must change something; nothing was changed
        InvalidRequest, AlreadyPaid, ... (one class per stable code)
      Unavailable     try again: nothing is wrong with the request
      Misconfigured   the operator must change something

A class carries its stable ``code`` and its sentence in English. Here stand those that
several packages raise; each context has its own in its ``errors.py``. Statuses and the
Chinese sentences stand beside the routes (``problems.py``). Bugs are assertions and are
not caught.
"""

import traceback
from typing import ClassVar


class PaybellError(Exception):
    """The root of everything raised on purpose."""

    code: ClassVar[str] = "internal_error"
    detail: ClassVar[str] = "Something went wrong on our side; try again later."

    def __init__(self, message: str | None = None, **extensions: object) -> None:
        """Keep a message for people and extension members for programs.

        Args:
            message: overrides the class's English sentence; never holds a secret.
            extensions: extra members of the problem document, in camelCase.
        """
        super().__init__(message or self.detail)
        self.message = message
        self.extensions = extensions


class Misconfigured(PaybellError):
    """A setting, a schema or the broker's topology must be changed by the operator."""

    code = "misconfigured"


class NoTemporaryFolder(Misconfigured):
    """What is gone after a command has no place."""

    detail = "No folder for temporary files can be written to; set TMPDIR to one."


class Unavailable(PaybellError):
    """Something Paybell needs is away for now; the same request may be sent again."""

    code = "unavailable"
    detail = "The service is not available right now; try again shortly."
    retry_after_seconds: ClassVar[int] = 1


class Outage(Unavailable):
    """A database of ours is away, or does not get it done: everybody's trouble, no request's fault."""


class DatabaseUnavailable(Outage):
    """The database cannot be reached; nothing was changed."""

    code = "database_unavailable"
    detail = "The database cannot be reached; nothing was changed, try again shortly."


class DatabaseBusy(Outage):
    """The database answers, and ended a statement that waited for a lock or ran for longer than it may."""

    code = "database_busy"
    detail = "The database ended a statement that took too long; nothing was changed, try again shortly."


class OutcomeUnknown(Outage):
    """The connection was lost while committing: done or not done, never half."""

    code = "outcome_unknown"
    detail = "It is not known whether this was done; send the same request again to find out."


class Busy(Unavailable):
    """Somebody else holds a row that this one request needs; its neighbours go on."""

    code = "busy"
    detail = "Something else is working on this wallet or order; nothing was changed, try again shortly."


class BrokerUnavailable(Unavailable):
    """The message broker cannot be reached."""

    code = "broker_unavailable"
    detail = "The message broker cannot be reached; try again shortly."


class Overloaded(Unavailable):
    """More is waiting than can be done in time."""

    code = "overloaded"
    detail = "Too many requests are waiting; try again after the time in Retry-After."


class Refused(PaybellError):
    """The caller must change something; nothing was changed here."""

    code = "refused"
    detail = "The request was refused."


class InvalidRequest(Refused):
    """The request is not of the documented form."""

    code = "invalid_request"
    detail = "The request is not of the documented form."


class InvalidAmount(InvalidRequest):
    """Amounts are integers in minor units, from 1 to 10^15."""

    code = "invalid_amount"
    detail = "The amount must be a whole number of minor units, from 1 to 10^15."


class UnknownCurrency(InvalidRequest):
    """Not a currency of ISO 4217."""

    code = "unknown_currency"
    detail = "The currency must be a code of ISO 4217, such as CNY."


class InvalidId(InvalidRequest):
    """Ids are strings of digits, from 1 to 2^63-1."""

    code = "invalid_id"
    detail = "An id is a string of digits from 1 to 9223372036854775807."


class NotAuthenticated(Refused):
    """No bearer token, or one that is wrong or expired."""

    code = "not_authenticated"
    detail = "Send a bearer token."


class InvalidToken(NotAuthenticated):
    """A bearer token that is none of ours: its signature, form or claims are wrong."""

    code = "invalid_token"
    detail = "The bearer token is not valid here: its signature, form or claims are wrong."


class InsufficientScope(Refused):
    """The token is valid but does not allow this."""

    code = "insufficient_scope"
    detail = "The token does not carry the scope this request needs."


class AlreadyPaid(Refused):
    """The pay order has been paid."""

    code = "already_paid"
    detail = "The order has been paid already."


class PayOrderClosed(Refused):
    """The pay order was closed, or its time has run out."""

    code = "pay_order_closed"
    detail = "The pay order is closed or its time has run out; create a new order."


class AttemptNotFinal(Refused):
    """Money from elsewhere may be on its way for this order; nobody knows yet."""

    code = "attempt_not_final"
    detail = "A payment of this order is still being confirmed; try again when it is decided."


def with_traceback(error: BaseException | None) -> dict[str, str]:
    """Return what a log line gets of an error: its traceback as text, nothing if there is none.

    As text, because the logger of a program that sets up none renders each local variable beside it,
    which takes a second and shows what no log may hold.
    """
    return {} if error is None else {"exception": "".join(traceback.format_exception(error)).rstrip()}
