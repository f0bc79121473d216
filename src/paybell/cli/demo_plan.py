"""What the demo tries: orders of every kind, dealt out to buyers."""

import random
import secrets
from dataclasses import dataclass, field

from paybell.clock import Clock
from paybell.ids import NODES, SnowflakeIds

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
