"""What a call may raise; each error has a stable ``code``, listed in Paybell's `docs/errors.md`.

PaybellClientError
  Problem         the service answered that it did not do it (RFC 9457); one class for what a shop acts on
  Unavailable     no answer that counts for as long as the client tries; the same call may be made again
  NotConfirmed    a wait is over; the payment may still come
  NotSigned, Unreadable   a message that must not be acted on
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec


class PaybellClientError(Exception):
    """The root of everything this package raises on purpose; ``code`` tells programs what it is."""

    code: str = ""


class Problem(PaybellClientError):
    """The service answered, and did not do it.

    Attributes:
        status: of the HTTP answer.
        code: Paybell's own; ``http_502`` and the like of an answer that is not Paybell's.
        detail: a sentence for people.
        extensions: further members of the problem document.
    """

    codes: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, status: int, code: str, detail: str = "", extensions: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.status = status
        self.code = code
        self.detail = detail
        self.extensions = extensions or {}


class NotAuthenticated(Problem):
    """There is no token, it has expired, or the service does not know its secret."""

    codes = ("not_authenticated", "invalid_token")


class InsufficientScope(Problem):
    """The token does not allow this."""

    codes = ("insufficient_scope",)


class NotTheirs(Problem):
    """It belongs to another user."""

    codes = ("not_the_payer", "not_the_buyer", "not_the_owner")


class NotFound(Problem):
    """There is none of this id."""

    codes = ("order_not_found", "pay_order_not_found", "wallet_not_found")


class TermsDiffer(Problem):
    """There is one of this number, with another payer, amount, currency or merchant."""

    codes = ("order_mismatch", "pay_order_mismatch")


class WalletExists(Problem):
    """This user has a wallet of this currency; after a try without an answer it may be this call's own."""

    codes = ("wallet_exists",)


class InsufficientBalance(Problem):
    """The wallet holds too little."""

    codes = ("insufficient_balance",)


class WrongPayPassword(Problem):
    """The pay password is wrong."""

    codes = ("wrong_pay_password",)

    @property
    def tries_left(self) -> int:
        """How many tries are left before it is locked."""
        return int(self.extensions.get("triesLeft", 0))


class PayPasswordLocked(Problem):
    """Too many wrong pay passwords."""

    codes = ("pay_password_locked",)

    @property
    def locked_until(self) -> datetime:
        """When the next try may be made, in UTC."""
        return datetime.fromisoformat(self.extensions["lockedUntil"])


class AlreadyPaid(Problem):
    """It has been paid already."""

    codes = ("already_paid",)


class PayOrderClosed(Problem):
    """The pay order is closed, or its time has run out."""

    codes = ("pay_order_closed",)


class OrderCancelled(Problem):
    """The order was cancelled."""

    codes = ("order_cancelled",)


class RefundExceedsPayment(Problem):
    """More than was paid and not given back yet."""

    codes = ("refund_exceeds_payment",)

    @property
    def refundable_amount(self) -> int:
        """How much can be given back, in minor units."""
        return int(self.extensions.get("refundableAmount", 0))


class IdempotencyKeyReused(Problem):
    """The key stands for another request, or for one that was done so long ago that its answer is gone."""

    codes = ("idempotency_key_reused",)


class Unavailable(PaybellClientError):
    """The service is away or busy for longer than the client tries; the same call may be made again."""

    code = "unavailable"


class NotConfirmed(PaybellClientError):
    """The wait is over and it is not paid yet; ``status`` is what was seen last, empty: nothing."""

    code = "not_confirmed"

    def __init__(self, what: str, seconds: float, status: str) -> None:
        super().__init__(
            f"{what} is not paid after {seconds:g} s ({status or 'the service did not answer'})."
        )
        self.status = status


class NotSigned(PaybellClientError):
    """No key of ours has signed this message; put it aside."""

    code = "not_signed"


class Unreadable(PaybellClientError):
    """A message that is not of the documented form; put it aside."""

    code = "unreadable"


def problem_of(status: int, content: bytes) -> Problem:
    """Read an answer that is no success, whoever sent it."""
    try:
        body = msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.MsgspecError:  # a proxy, or a server that has had enough
        body = {}
    code = str(body.pop("code", f"http_{status}"))
    detail = str(body.pop("detail", ""))
    return _CLASSES.get(code, Problem)(status, code, detail, body)


def _kinds() -> Iterator[tuple[str, type[Problem]]]:
    for kind in Problem.__subclasses__():
        for code in kind.codes:
            yield code, kind


_CLASSES = dict(_kinds())
