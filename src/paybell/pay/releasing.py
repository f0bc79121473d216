"""Who pays by balance leaves the windows that are open at channels: those are asked to close first.

For a moment only. A channel that is away must not keep a buyer from a balance that is here, and money that
comes twice goes back by itself.
"""

import asyncio
from collections.abc import Sequence

import structlog

from paybell.errors import PaybellError
from paybell.parts import Release

log = structlog.get_logger()
# What takes longer goes on without the payment, which waits no more.
ASKING_SECONDS = 3.0


class Releasing:
    """Asks whoever holds a pay order to let go of it."""

    def __init__(self, releasing: Sequence[Release], seconds: float = ASKING_SECONDS) -> None:
        self._releasing = releasing
        self._seconds = seconds
        self._asking: set[asyncio.Task[None]] = set()

    async def ask(self, pay_order_id: int) -> None:
        """Ask, and wait for a moment; whoever was asked ends what it does by itself."""
        asking = [asyncio.create_task(_ask(release, pay_order_id)) for release in self._releasing]
        self._asking.update(asking)
        for task in asking:
            task.add_done_callback(self._asking.discard)
        if asking:
            await asyncio.wait(asking, timeout=self._seconds)


async def _ask(release: Release, pay_order_id: int) -> None:
    try:
        await release(pay_order_id)
    except PaybellError as error:
        log.warning("window_stays_open", pay_order_id=pay_order_id, code=error.code)
