"""One whole service, shared by the tests of its HTTP contract; each of them uses users of its own."""

from collections.abc import AsyncIterator

import pytest_asyncio
from serving import Client, Service, fresh_databases, in_process
from support import Databases


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service(postgres: Databases) -> AsyncIterator[Service]:
    """Everything in one process, as ``paybell serve`` runs it."""
    async with in_process(await fresh_databases(postgres)) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def http(service: Service) -> Client:
    """A client of the shared service."""
    return service.client
