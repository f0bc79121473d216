"""Finds the purchases of which pay and trade do not say the same, without reading all of them.

Both sides count and digest their rows by pieces of time; only where these differ are rows read. A pay
order's id is in the order of time and known to both, so both cut at the same places.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from paybell.clock import Clock
from paybell.ids import ID_MAX, ID_MINUTE, first_id
from paybell.reconciliation.differences import Difference, classify
from paybell.reconciliation.pay_books import PayBooks
from paybell.reconciliation.trade_books import TradeBooks

# One statement reads and digests so many pay orders: some 100 ms.
CHUNK = 20_000
# How many suspects are looked at, and repaired, together.
BATCH = 1_000
# What changed less than this ago may still be on its way: it is looked at again before it counts.
UNDER_WAY_SECONDS = 5.0
_POLL_SECONDS = 0.25


@dataclass(slots=True)
class Compared:
    """How far a comparison has come.

    Attributes:
        pay_orders: read and digested by pay.
        buckets: pieces of time compared.
        waiting: differences of which pay's event still waits in the outbox: late, not lost.
        position: everything of pay orders up to this id was compared; a later run may go on after it.
    """

    pay_orders: int = 0
    buckets: int = 0
    waiting: int = 0
    position: int = 0


@dataclass(slots=True)
class Comparison:
    """Goes through both sides once; memory holds a chunk, whatever there is."""

    pay: PayBooks
    trade: TradeBooks
    clock: Clock
    width: int = ID_MINUTE
    chunk: int = CHUNK
    compared: Compared = field(default_factory=Compared)

    async def differences(
        self, since: datetime | None = None, after: int = 0
    ) -> AsyncGenerator[list[Difference], None]:
        """Yield what differs in batches of at most `BATCH`, oldest first; after a chunk an empty one.

        Args:
            since: leave out what has not changed since: pay orders made before, that were neither paid,
                closed nor refunded since.
            after: leave out pay orders up to this id, a `Compared.position`.

        Raises:
            DatabaseUnavailable: one of the two does not answer.
        """
        older = 0 if since is None else first_id(since) - 1
        after = max(after, older)
        while after < ID_MAX:
            async for suspects in self._suspects(after, chunk := await self._chunk(after)):
                for batch in _batches(suspects):
                    if found := await self.confirmed(batch):
                        yield found
            after = self.compared.position = chunk.last
            yield []
        if since is not None:
            async for changed in self.pay.changed_since(since, older, self.chunk):
                for batch in _batches(changed):
                    yield await self.confirmed(batch)
        async for page in self.trade.paid_unlinked():
            for batch in _batches({entry.number for entry in page}):
                yield await self.confirmed(batch)

    async def _chunk(self, after: int) -> "_Chunk":
        ours, last = await self.pay.buckets(after, self.chunk, self.width)
        # After pay's last one: what trade may have there was never pay's.
        last = ID_MAX if last is None else last
        theirs = await self.trade.buckets(after, last, self.width)
        self.compared.pay_orders += sum(bucket.count for bucket in ours.values())
        self.compared.buckets += len(ours.keys() | theirs.keys())
        differing = sorted(n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n))
        return _Chunk(last, differing)

    async def _suspects(self, after: int, chunk: "_Chunk") -> AsyncIterator[set[int]]:
        """Yield the numbers in differing buckets whose rows are not the same on both sides."""
        for bucket in chunk.differing:
            low = max(after, bucket * self.width - 1)
            high = min(chunk.last, (bucket + 1) * self.width - 1)
            entries = {entry.number: entry for entry in await self.pay.entries(low, high)}
            for batch in _batches(entries):
                theirs = await self.trade.find(batch)
                yield {number for number in batch if classify(entries[number], theirs.get(number))}
            async for page in self.trade.entries(low, high):
                yield {entry.number for entry in page if entry.number not in entries}

    async def confirmed(self, numbers: Collection[int]) -> list[Difference]:
        """Return those that differ for good: not what is only under way, or waits in the outbox."""
        while differing := await self._differing(numbers):
            newest = max(_changed_at(one) for one in differing)
            if self.clock.now() - newest >= timedelta(seconds=UNDER_WAY_SECONDS):
                break
            await self.clock.sleep(_POLL_SECONDS)
            numbers = [one.number for one in differing]
        waiting = await self.pay.waiting([one.number for one in differing]) if differing else set()
        self.compared.waiting += len(waiting)
        return [one for one in differing if one.number not in waiting]

    async def still(self, differences: Collection[Difference]) -> list[Difference]:
        """Return those that still differ."""
        return await self._differing([one.number for one in differences])

    async def _differing(self, numbers: Collection[int]) -> list[Difference]:
        # Trade first: what pay says later can only be news that has yet to be delivered to trade.
        theirs = await self.trade.find(numbers)
        ours = await self.pay.find(numbers)
        both = ((number, ours.get(number), theirs.get(number)) for number in sorted(numbers))
        return [
            Difference(number, kind, pay, trade)
            for number, pay, trade in both
            if (kind := classify(pay, trade))
        ]


@dataclass(frozen=True, slots=True)
class _Chunk:
    last: int
    differing: list[int]


def _changed_at(difference: Difference) -> datetime:
    return max(entry.changed_at for entry in (difference.pay, difference.trade) if entry is not None)


def _batches(numbers: Collection[int]) -> Iterator[list[int]]:
    ordered = sorted(numbers)
    for start in range(0, len(ordered), BATCH):
        yield ordered[start : start + BATCH]
