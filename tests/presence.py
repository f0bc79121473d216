"""Processes of the role trade for tests, as far as others see them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from support import until

from paybell.messaging.events import TRADE_QUEUE
from paybell.storage import Database
from paybell.trade.presence import Presence, processes


@asynccontextmanager
async def present(database: Database) -> AsyncIterator[None]:
    """Be one that listens on `TRADE_QUEUE`."""
    stop, before = asyncio.Event(), (await processes(database)).get(TRADE_QUEUE, 0)
    running = asyncio.create_task(Presence(database, [TRADE_QUEUE]).run(stop))

    async def there() -> bool:
        return (await processes(database)).get(TRADE_QUEUE, 0) > before

    await until(there)
    try:
        yield
    finally:
        stop.set()
        await running
