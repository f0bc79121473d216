"""One request that the database refuses does not fail the others of its batch.

Here it is text that PostgreSQL cannot hold, past every check of the edge.
"""

import asyncio
from collections.abc import Awaitable, Sequence

from shop import shop
from support import PaySide

from paybell.pay.model import Application
from paybell.storage import Database
from paybell.trade.model import Purchase

BAD = 5
SUBJECTS = ["\x00" if number == BAD else "茶" for number in range(40)]


async def failed(work: Sequence[Awaitable[object]]) -> list[int]:
    """Do everything at once; return the positions of what failed."""
    answers = await asyncio.gather(*work, return_exceptions=True)
    return [number for number, answer in enumerate(answers) if isinstance(answer, BaseException)]


async def test_one_bad_application_for_a_pay_order_fails_alone(pay_database: Database) -> None:
    pay = PaySide(pay_database).pay
    applications = [
        Application("1", number, "7", 100, "CNY", subject, 600) for number, subject in enumerate(SUBJECTS, 1)
    ]

    assert await failed([pay.apply(application) for application in applications]) == [BAD]


async def test_one_bad_order_fails_alone(pay_database: Database, trade_database: Database) -> None:
    async with shop(pay_database, trade_database) as here:
        purchases = [Purchase(number, "7", 100, "CNY", subject) for number, subject in enumerate(SUBJECTS, 1)]

        assert await failed([here.trade.create(purchase, "") for purchase in purchases]) == [BAD]
