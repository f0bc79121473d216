"""Applications for pay orders: while one request is on its way the next one gathers many."""

import asyncio
from collections.abc import Sequence

from paybell.batching import Batcher
from paybell.clock import Clock
from paybell.errors import PaybellError
from paybell.ids import IDS_MAX
from paybell.trade.errors import PayServiceUnavailable
from paybell.trade.model import Order
from paybell.trade.pay_client import PayClient
from paybell.trade.pay_connection import TIMEOUT_SECONDS

# A pay service that takes one at a time is asked again after this: it may be a newer one by then.
_ASK_AGAIN_SECONDS = 60.0


class Applications:
    """Asks pay for the pay orders of orders. A lone one is asked for by itself."""

    def __init__(self, pay: PayClient, clock: Clock) -> None:
        self._pay = pay
        self._clock = clock
        self._batches = Batcher(self._apply_batch, batch_max=IDS_MAX)
        self._one_by_one_until = 0.0

    async def apply(self, order: Order, traceparent: str) -> int:
        """Return the id of the order's pay order, made if it is missing; see `PayClient.apply`.

        Raises:
            PayServiceUnavailable: pay did not answer in time. PayOrderClosed, OrderMismatch: it refused.
        """
        if self._clock.monotonic() < self._one_by_one_until:
            return await self._pay.apply(order, traceparent)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await self._batches.submit((order, traceparent))
        except TimeoutError as error:
            raise PayServiceUnavailable from error

    async def _apply_batch(self, wanted: Sequence[tuple[Order, str]]) -> Sequence[int | PaybellError]:
        if len(wanted) > 1:
            answers = await self._pay.apply_for_many([order for order, _ in wanted])
            if answers is not None:
                return answers
            self._one_by_one_until = self._clock.monotonic() + _ASK_AGAIN_SECONDS
        return await asyncio.gather(*(self._apply_one(order, traceparent) for order, traceparent in wanted))

    async def _apply_one(self, order: Order, traceparent: str) -> int | PaybellError:
        try:
            return await self._pay.apply(order, traceparent)
        except PaybellError as error:
            return error
