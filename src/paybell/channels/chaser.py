"""Attempts in doubt: rows with a due time, queried by any process until the channel's answer is certain."""

import asyncio

from paybell.channels import store
from paybell.channels.answers import NotSent, QuerySaid, Said
from paybell.channels.attempt import Attempt, AttemptState, Call, charge_of
from paybell.channels.channel import Channel, Charge
from paybell.channels.circuit import Circuit
from paybell.channels.decision import closes_after
from paybell.channels.errors import ChannelUnavailable
from paybell.channels.recorder import Recorder
from paybell.clock import Clock
from paybell.pay import store as pay_orders
from paybell.pay.status import OPEN
from paybell.storage import Database

# Queries of one channel at once from one process: the rest of its calls is for buyers.
CHASE_MAX = 16


class Chaser:
    """Takes up one channel's attempts that are due; any number may run."""

    def __init__(
        self, database: Database, recorder: Recorder, channel: Channel, circuit: Circuit, clock: Clock
    ) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._channel = channel
        self._circuit = circuit

    async def run_once(self) -> int:
        """Query one bounded batch; return how many attempts were due.

        While the channel is away nothing is taken up, so that no attempt uses its schedule up on that.
        """
        if self._circuit.away:
            return 0
        async with self._database.transaction() as tx:
            due = await store.take_due(tx, self._channel.name, CHASE_MAX)
        await asyncio.gather(*map(self.chase, due))
        return len(due)

    async def chase(self, attempt: Attempt) -> Attempt:
        """Ask the channel about an attempt, and close it there if that is due; return it as it is then."""
        if attempt.state is AttemptState.PREPARED:
            return await self._abandon(attempt, "the process that prepared it has ended")
        order = await pay_orders.find(self._database, attempt.pay_order_id)
        assert order is not None, "an attempt names a pay order"
        charge = charge_of(attempt, order)
        try:
            said: Said = await self._ask(charge)
            attempt, order = await self._recorder.record(attempt, Call.QUERY, said)
            payable = order.status in OPEN
            if attempt.live and closes_after(attempt, said, payable=payable, now=self._clock.now()):
                attempt = await self.close(attempt, charge)
        except ChannelUnavailable:
            pass  # due again when its lease is over
        return attempt

    async def close(self, attempt: Attempt, charge: Charge) -> Attempt:
        """Have the channel close an attempt, or reverse it; return it as it is then.

        What has not been sent yet never is.

        Raises:
            ChannelUnavailable: it was not asked.
        """
        if attempt.state is AttemptState.PREPARED:
            return await self._abandon(attempt, "it was closed before it was sent")
        async with self._circuit.call():
            said = await self._channel.close(charge)
            self._circuit.note(said)
        return (await self._recorder.record(attempt, Call.CLOSE, said))[0]

    async def _abandon(self, attempt: Attempt, why: str) -> Attempt:
        """Give up an attempt that is still prepared; one that was sent meanwhile stays as it is."""
        return (await self._recorder.record(attempt, Call.ABANDON, NotSent(why)))[0]

    async def _ask(self, charge: Charge) -> QuerySaid:
        async with self._circuit.call():
            said = await self._channel.query(charge)
            self._circuit.note(said)
        return said
