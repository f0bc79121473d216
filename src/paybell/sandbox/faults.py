"""What a simulated channel can be made to do wrong."""

import random
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum


class Operation(StrEnum):
    """What a fault befalls."""

    OPEN = "open"
    QUERY = "query"
    CLOSE = "close"
    REFUND = "refund"
    QUERY_REFUND = "query_refund"
    NOTICE = "notice"


class Fault(StrEnum):
    """What goes wrong. The first ones befall any call, the others what is said in a call or notice."""

    LOSE_REQUEST = "lose_request"  # the connection ends, and nothing was done
    LOSE_ANSWER = "lose_answer"  # it was done, and the connection ends
    FAIL_BEFORE = "fail_before"  # 500, and nothing was done
    FAIL_AFTER = "fail_after"  # it was done, and 500
    HTML_502 = "html_502"  # a proxy's page
    TRUNCATED = "truncated"  # half of the answer
    WRONG_TYPE = "wrong_type"  # the right answer, said to be something else
    RATE_LIMITED = "rate_limited"
    DELAY = "delay"  # so many real seconds

    UNSIGNED = "unsigned"
    BAD_SIGNATURE = "bad_signature"
    UNKNOWN_KEY = "unknown_key"
    OTHER_KEY = "other_key"  # the second key of a rotation
    OLD_TIMESTAMP = "old_timestamp"  # signed a year ago
    NOT_FOUND = "not_found"  # a query that does not know it yet
    WRONG_AMOUNT = "wrong_amount"
    WRONG_SELLER = "wrong_seller"
    REFUND_PENDING = "refund_pending"
    REFUND_FAILS = "refund_fails"  # accepted, and failed afterwards
    PAY_MEANWHILE = "pay_meanwhile"  # the buyer pays while the window is being closed
    CODE = "code"  # an error of the channel's, by its code; nothing was done
    DROP = "drop"  # a notice that never comes
    DUPLICATE = "duplicate"  # one that comes twice


OF_CALLS = frozenset(
    {
        Fault.LOSE_REQUEST,
        Fault.LOSE_ANSWER,
        Fault.FAIL_BEFORE,
        Fault.FAIL_AFTER,
        Fault.HTML_502,
        Fault.TRUNCATED,
        Fault.WRONG_TYPE,
        Fault.RATE_LIMITED,
        Fault.BAD_SIGNATURE,
    }
)
OF_NOTICES = frozenset({Fault.DROP, Fault.DUPLICATE, Fault.DELAY, Fault.BAD_SIGNATURE, Fault.OLD_TIMESTAMP})


@dataclass
class _Ordered:
    operation: Operation
    fault: Fault
    times: int
    seconds: float
    code: str


class Faults:
    """Faults that were ordered, and those that strike by chance."""

    def __init__(self) -> None:
        self._ordered: list[_Ordered] = []
        self._share, self._random = 0.0, random.Random(0)  # noqa: S311 - a repeatable choice
        self.struck = 0
        self.code = ""

    def order(
        self, operation: Operation, fault: Fault, times: int = 1, *, seconds: float = 0.0, code: str = ""
    ) -> None:
        """Let the next so many calls or notices of this kind go wrong.

        Args:
            operation: of this kind.
            fault: in this way.
            times: so many.
            seconds: of a delay.
            code: of an error; at WeChat and Stripe with its status before it, such as ``403 NOT_ENOUGH``.
        """
        self._ordered.append(_Ordered(operation, fault, times, seconds, code))

    def scatter(self, share: float, seed: int) -> None:
        """Let this share (0 to 1) of all calls and notices go wrong in some way."""
        self._share, self._random = share, random.Random(seed)  # noqa: S311 - a repeatable choice

    def clear(self) -> None:
        """Let everything go right from now on."""
        self._ordered.clear()
        self._share = 0.0

    def take(self, operation: Operation) -> tuple[Fault | None, float]:
        """Return what befalls the next one, and the seconds of a delay."""
        for one in self._ordered:
            if one.operation is operation:
                one.times -= 1
                if one.times == 0:
                    self._ordered.remove(one)
                self.struck += 1
                self.code = one.code
                return one.fault, one.seconds
        if self._share and self._random.random() < self._share:
            self.struck += 1
            return self._random.choice(
                _sorted(OF_NOTICES if operation is Operation.NOTICE else OF_CALLS)
            ), 0.5
        return None, 0.0


def _sorted(faults: Collection[Fault]) -> list[Fault]:
    return sorted(faults)
