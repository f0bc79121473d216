"""One whole service, shared by the tests of its HTTP contract; each of them uses users of its own."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from browser import chromium
from playwright.async_api import Browser
from serving import SETTINGS, Client, Service, fresh_databases, in_process
from support import Databases

from paybell.clock import SystemClock
from paybell.storage import Database
from paybell.storage.embedded import temporary_home


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_service(postgres: Databases) -> AsyncIterator[Service]:
    """Everything in one process, as ``paybell serve`` runs it."""
    async with in_process(await fresh_databases(postgres)) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def service(shared_service: Service) -> Service:
    """The shared service, awake again."""
    await shared_service.renew()
    return shared_service


@pytest_asyncio.fixture(loop_scope="session")
async def http(service: Service) -> Client:
    """A client of the shared service."""
    return service.client


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pay_check(shared_service: Service) -> AsyncIterator[Database]:
    """The shared service's pay database, to look at its books."""
    async with Database.open(shared_service.urls["pay"], SystemClock(), connections=2) as database:
        yield database


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A browser for the tests of the pages; each opens pages of its own."""
    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own(postgres: Databases) -> AsyncIterator[Service]:
    """A service of a module's own: the console shows everything, and repairs only what it is told."""
    settings = replace(SETTINGS, reconcile_seconds=0)
    async with in_process(await fresh_databases(postgres), settings) as running:
        yield running


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder for one embedded database, short enough for a socket's path; what is left running is ended."""
    with temporary_home("pb-") as folder:
        yield folder
        with suppress(FileNotFoundError):
            pid = int((folder / "postgres" / "postmaster.pid").read_text().splitlines()[0])
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT)
