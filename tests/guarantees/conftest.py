"""What tests of several promises begin with."""

import pytest
from support import PaySide

from paybell.storage import Database


@pytest.fixture
async def side(pay_database: Database) -> PaySide:
    """The pay service, and a user 7 with money."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000_000)
    return side
