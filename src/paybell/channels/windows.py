"""Windows that are closed before their end: another way is chosen, or the order itself is closed."""

import asyncio
from collections.abc import Mapping

import structlog

from paybell.channels import store
from paybell.channels.attempt import Attempt, charge_of
from paybell.channels.channel import Kind
from paybell.channels.errors import ChannelUnavailable
from paybell.channels.lines import Line
from paybell.pay import store as pay_orders
from paybell.pay.model import PayOrder
from paybell.storage import Database

log = structlog.get_logger()


class WindowCloser:
    """Asks channels to close an order's windows; one that does not say so certainly stays as it is."""

    def __init__(self, database: Database, lines: Mapping[str, Line]) -> None:
        """Work on the pay database, with the channels by name."""
        self._database = database
        self._lines = lines

    async def close(self, pay_order_id: int) -> None:
        """Close all of an order's windows, so that the order itself may be closed."""
        order = await pay_orders.find(self._database, pay_order_id)
        if order is not None:
            await self.close_but(order, "")

    async def close_but(self, order: PayOrder, channel: str) -> None:
        """Close an order's windows but this channel's."""
        open_ones = [
            one
            for one in await store.of_pay_order(self._database, order.id)
            if one.kind is Kind.WINDOW and one.live and one.channel != channel
        ]
        await asyncio.gather(*(self._close(one, order) for one in open_ones))

    async def _close(self, attempt: Attempt, order: PayOrder) -> None:
        line = self._lines.get(attempt.channel)
        if line is None:  # a channel that is not set up any more
            return
        try:
            await line.chaser.close(attempt, charge_of(attempt, order))
        except ChannelUnavailable:
            log.warning("window_stays_open", attempt_id=attempt.id, channel=attempt.channel)
