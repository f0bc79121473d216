"""One whole service, shared by the tests of its HTTP contract; each of them uses users of its own."""

from collections.abc import AsyncIterator

import pytest_asyncio
from serving import Client, Service, fresh_databases, in_process
from support import Databases

from paybell.clock import SystemClock
from paybell.storage import Database


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service(postgres: Databases) -> AsyncIterator[Service]:
    """Everything in one process, as ``paybell serve`` runs it."""
    async with in_process(await fresh_databases(postgres)) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def http(service: Service) -> Client:
    """A client of the shared service."""
    return service.client


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pay_check(service: Service) -> AsyncIterator[Database]:
    """The shared service's pay database, to look at its books."""
    async with Database.open(service.urls["pay"], SystemClock(), connections=2) as database:
        yield database
