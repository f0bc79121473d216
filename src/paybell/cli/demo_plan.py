"""What the demo tries, orders of every kind dealt out to buyers; and what comes of it."""

import random
import secrets
from collections import Counter
from dataclasses import dataclass, field

from paybell.clock import Clock
from paybell.ids import NODES, SnowflakeIds
from paybell.verification.audit import Audit

PAID = "paid"
# Prices in fen: up to 500 yuan. The poor buyer owns less than any of their orders costs.
PRICE_MAX = 50_000
POOR_BALANCE = 100
POOR, STRANGER = "demo-poor", "demo-stranger"
# A wallet locks after five wrong passwords in a row; a demo must not lock anybody out.
WRONG_PER_BUYER_MAX = 3


@dataclass(frozen=True, slots=True)
class Case:
    """Something buyers do, how often in a hundred, each answer, and where the order ends."""

    title: str
    percent: int
    answers: tuple[str, ...]
    status: str


NORMAL = Case("paid", 100, (PAID,), "PAID")
TWICE = Case("paid twice at once", 10, (PAID, PAID), "PAID")
WRONG = Case("wrong password first", 5, ("wrong_pay_password", PAID), "PAID")
BROKE = Case("not enough balance", 5, ("insufficient_balance",), "UNPAID")
FOREIGN = Case("not their own order", 5, ("not_the_payer",), "UNPAID")
CANCELLED = Case("cancelled before", 5, ("pay_order_closed",), "CANCELLED")
CASES = (NORMAL, TWICE, WRONG, BROKE, FOREIGN, CANCELLED)


@dataclass(slots=True)
class DemoOrder:
    """One order: what is to happen to it, and what its payments were answered."""

    id: int
    buyer: str
    price: int
    case: Case
    answers: list[str] = field(default_factory=list)


@dataclass(slots=True)
class DemoResult:
    """What a demo saw: times in seconds, ``first_paid`` on the clock; the rest is in the audit."""

    orders: list[DemoOrder]
    latencies: list[float] = field(default_factory=list)
    first_paid: float = float("inf")
    missing: set[int] = field(default_factory=set)
    first_paid_seconds: float = 0.0

    def as_expected(self, case: Case) -> int:
        """Count the orders of a case that were answered and ended as they should."""
        return sum(
            order.answers == [*case.answers] and order.id not in self.missing for order in self.of(case)
        )

    def of(self, case: Case) -> list[DemoOrder]:
        """Return the orders of a case."""
        return [order for order in self.orders if order.case is case]

    def refused(self) -> dict[str, int]:
        """Count the refusals by code."""
        codes = Counter(answer for order in self.orders for answer in order.answers)
        del codes[PAID]
        return dict(codes)

    def is_expected(self, books: Audit) -> bool:
        """Say whether everybody got the right answer and the books agree."""
        payable = [order for order in self.orders if order.case.status == "PAID"]
        expected = len(payable), len(payable), sum(order.price for order in payable)
        all_answered = all(self.as_expected(case) == len(self.of(case)) for case in CASES)
        return all_answered and books.clean and expected == (books.paid, books.marked_paid, books.debited)


def plan(orders: int, buyers: int, clock: Clock) -> list[DemoOrder]:
    """Deal the cases out; every buyer gets some of each, the poor one those they cannot afford."""
    counts = {case: orders * case.percent // 100 for case in CASES[1:]}
    counts[WRONG] = min(counts[WRONG], WRONG_PER_BUYER_MAX * buyers)
    cases = [case for case, count in counts.items() for _ in range(count)]
    cases += [NORMAL] * (orders - len(cases))
    ids = SnowflakeIds(clock, secrets.randbelow(NODES))
    dice = random.Random(orders)  # noqa: S311 - the same prices each time
    planned = []
    for number, case in enumerate(cases):
        buyer = POOR if case is BROKE else f"demo-buyer-{number % buyers + 1}"
        price = dice.randint(POOR_BALANCE + 1, PRICE_MAX)
        planned.append(DemoOrder(ids.next(), buyer, price, case))
    dice.shuffle(planned)
    return planned
