"""Real parts for tests: an embedded PostgreSQL, fresh databases, a real RabbitMQ when asked for."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest
from support import Databases, admin

from paybell.clock import SystemClock
from paybell.storage import Database
from paybell.storage.embedded import embedded_postgres
from paybell.storage.migrate import migrate

_numbers = count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Databases]:
    """One server for the whole run, with a migrated template of each database."""
    with tempfile.TemporaryDirectory(prefix="paybell-test-") as home, embedded_postgres(Path(home)) as urls:
        pay, trade = urls["paybell_pay"], urls["paybell_trade"]

        async def prepare() -> None:
            # Nothing here has to outlive a power cut; a killed server recovers without it as well.
            await admin(pay, "ALTER SYSTEM SET fsync = off")
            await admin(pay, "SELECT pg_reload_conf()")
            await migrate(pay, "pay")
            await migrate(trade, "trade")
            await migrate(trade, "listeners")

        asyncio.run(prepare())
        yield Databases(pay, trade)


async def _fresh(template_url: str, template: str) -> str:
    name = f"{template}_{next(_numbers)}"
    await admin(template_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    return template_url.replace(f"/{template}", f"/{name}", 1)


@pytest.fixture
async def pay_url(postgres: Databases) -> str:
    """An empty pay database of this test alone."""
    return await _fresh(postgres.pay, "paybell_pay")


@pytest.fixture
async def trade_url(postgres: Databases) -> str:
    """An empty trade database of this test alone."""
    return await _fresh(postgres.trade, "paybell_trade")


@pytest.fixture
async def pay_database(pay_url: str) -> AsyncIterator[Database]:
    """The pay database, opened."""
    async with Database.open(pay_url, SystemClock(), connections=16) as database:
        yield database


@pytest.fixture
async def trade_database(trade_url: str) -> AsyncIterator[Database]:
    """The trade database, opened."""
    async with Database.open(trade_url, SystemClock(), connections=16) as database:
        yield database


@pytest.fixture(scope="session")
def rabbitmq_url() -> Iterator[str]:
    """A real RabbitMQ: the one at PAYBELL_TEST_AMQP_URL, or a private node (design section 8)."""
    from paybell.messaging.rabbitmq_node import find_or_start  # noqa: PLC0415 - only where it is needed

    with find_or_start(print) as url:
        yield url
