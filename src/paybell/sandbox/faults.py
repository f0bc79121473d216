"""What a simulated channel can be made to do wrong."""

import random
from collections import Counter
from collections.abc import Mapping
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
    BILL = "bill"


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


# By chance. A connection that ends, a server out of order, what stands in between, and what is only slow.
_OF_CALLS = (
    Fault.LOSE_REQUEST,
    Fault.LOSE_ANSWER,
    Fault.FAIL_BEFORE,
    Fault.FAIL_AFTER,
    Fault.HTML_502,
    Fault.TRUNCATED,
    Fault.WRONG_TYPE,
    Fault.RATE_LIMITED,
    Fault.DELAY,
)
_OF_SIGNATURES = (
    Fault.UNSIGNED,
    Fault.BAD_SIGNATURE,
    Fault.UNKNOWN_KEY,
    Fault.OTHER_KEY,
    Fault.OLD_TIMESTAMP,
)
_DIFFERENT = (Fault.WRONG_AMOUNT, Fault.WRONG_SELLER)
# A refund that fails for good is nothing that chance may bring: somebody has to decide what becomes of it.
_OF_OPERATIONS: Mapping[Operation, tuple[Fault, ...]] = {
    Operation.OPEN: (),
    Operation.QUERY: (Fault.NOT_FOUND, *_DIFFERENT),
    Operation.CLOSE: (Fault.PAY_MEANWHILE,),
    Operation.REFUND: (Fault.REFUND_PENDING,),
    Operation.QUERY_REFUND: (),
}
_OF_NOTICES = (Fault.DROP, Fault.DUPLICATE, Fault.DELAY, *_OF_SIGNATURES, *_DIFFERENT)
_DELAY_SECONDS = 0.5


def by_chance(operation: Operation, *, signed: bool) -> tuple[Fault, ...]:
    """Return what may befall one kind of call, whose answers are signed or not, or a notice."""
    if operation is Operation.NOTICE:
        return _OF_NOTICES
    return (*_OF_CALLS, *(_OF_SIGNATURES if signed else ()), *_OF_OPERATIONS[operation])


@dataclass
class _Ordered:
    operation: Operation
    fault: Fault
    times: int
    seconds: float
    code: str


class Faults:
    """Faults that were ordered, and those that strike by chance."""

    def __init__(self, *, signed: bool = True) -> None:
        """Have none yet; ``signed``: the channel signs its answers."""
        self._signed = signed
        self._ordered: list[_Ordered] = []
        self._share, self._random = 0.0, random.Random(0)  # noqa: S311 - a repeatable choice
        self._decks: dict[Operation, list[Fault]] = {}
        self.struck = Counter[Fault]()
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
        self._decks.clear()

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
                self.struck[one.fault] += 1
                self.code = one.code
                return one.fault, one.seconds
        if self._share and self._random.random() < self._share:
            fault = self._dealt(operation)
            self.struck[fault] += 1
            return fault, _DELAY_SECONDS
        return None, 0.0

    def _dealt(self, operation: Operation) -> Fault:
        """Deal every kind before any comes again."""
        deck = self._decks.setdefault(operation, [])
        if not deck:
            deck += by_chance(operation, signed=self._signed)
            self._random.shuffle(deck)
        return deck.pop()
