"""Real parts for tests: an embedded PostgreSQL, fresh databases, a real RabbitMQ when asked for."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest
from support import TEMPLATES, Databases, admin, made_from

from paybell.clock import SystemClock
from paybell.serving.databases import SCHEMAS
from paybell.storage import Database
from paybell.storage.embedded import embedded_postgres, remove_data, temporary_home
from paybell.storage.migrate import migrate
from paybell.testing.rabbitmq_install import URL_VARIABLE, ensure_installed
from paybell.testing.rabbitmq_node import RabbitmqNode

# Whoever runs the tests as root agrees to programs that are missing being installed.
os.environ.setdefault("CI", "1")


@pytest.fixture(scope="session", autouse=True)
def _no_data_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """As root the data of a test's own server may be outside of its folder."""
    yield
    for data in tmp_path_factory.getbasetemp().rglob("postgres"):
        if data.is_symlink():
            remove_data(data.parent)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Databases]:
    """One server for the whole run."""
    with temporary_home("paybell-test-") as home, embedded_postgres(home) as urls:
        pay, trade = urls["paybell_pay"], urls["paybell_trade"]

        async def prepare() -> None:
            # Nothing here has to outlive a power cut; a killed server recovers without it as well.
            await admin(pay, "ALTER SYSTEM SET fsync = off")
            await admin(pay, "SELECT pg_reload_conf()")
            for name, url in (("pay", pay), ("trade", trade)):
                await admin(url, f"CREATE DATABASE {TEMPLATES[name]}")
                for schema in SCHEMAS[name]:
                    await migrate(url.replace(f"/paybell_{name}", f"/{TEMPLATES[name]}", 1), schema)

        asyncio.run(prepare())
        yield Databases(pay, trade)


async def _fresh(url: str, name: str) -> str:
    """Make a database anew from its template; all who are still connected to it are thrown out."""
    await admin(
        url, f"DROP DATABASE IF EXISTS paybell_{name} WITH (FORCE)", made_from(f"paybell_{name}", name)
    )
    return url


@pytest.fixture
async def pay_url(postgres: Databases) -> str:
    """An empty pay database of this test alone."""
    return await _fresh(postgres.pay, "pay")


@pytest.fixture
async def trade_url(postgres: Databases) -> str:
    """An empty trade database of this test alone."""
    return await _fresh(postgres.trade, "trade")


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
def rabbitmq() -> Iterator[RabbitmqNode]:
    """A private node for the whole run."""
    ensure_installed(print)
    with RabbitmqNode.start() as node:
        yield node


@pytest.fixture(scope="module")
def rabbitmq_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A real RabbitMQ: the one at PAYBELL_TEST_AMQP_URL, or an empty virtual host of this module alone.

    Whatever another module left bound to Paybell's exchanges would take messages that this one misses.
    """
    if url := os.environ.get(URL_VARIABLE):
        yield url
        return
    node, name = request.getfixturevalue("rabbitmq"), request.module.__name__
    node.add_virtual_host(name)
    yield node.url.replace("%2f", name)
    node.delete_virtual_host(name)
