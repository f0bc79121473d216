"""Decides what breaks when, from a seed, and how long the system takes to get over it."""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from paybell.clock import SystemClock
from paybell.errors import Unavailable
from torture.faults import FAULTS, Fault
from torture.probe import Prober
from torture.stack import Stack

# How many of ten rounds break one thing, two, three or four together, all in different places.
_TOGETHER = (0, 1, 4, 5)
# So many cards lie open to find one that fits.
_CHOICE = 6
# The system comes to rest for so long before the next round, at most.
_REST_SECONDS = 0.3


@dataclass(slots=True)
class Record:
    """What was broken: ``recovery_seconds`` run from its end until payments went through again."""

    kind: str
    detail: str
    at: float
    seconds: float
    recovery_seconds: float = 0.0
    troubles: str = ""


@dataclass(slots=True)
class Nemesis:
    """Breaks a stack, round by round."""

    stack: Stack
    prober: Prober
    dice: random.Random
    tell: Callable[[Record], object]
    faults: Sequence[Fault] = FAULTS
    records: list[Record] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)

    async def run(self, seconds: float) -> None:
        """Go on for so long, and finish the round that has begun."""
        clock = SystemClock()
        started = clock.monotonic()
        rounds = _rounds(self.dice, self.faults)
        while clock.monotonic() - started < seconds:
            faults = next(rounds)
            done = await asyncio.gather(*(self._do(fault, started) for fault in faults))
            recovery = await self.prober.recovered()
            for record in done:
                if record:
                    record.recovery_seconds = recovery
                    record.troubles = ", ".join(f"{n} {what}" for what, n in self.prober.troubles.items())
                    self.records.append(record)
                    self.tell(record)
            await asyncio.sleep(self.dice.uniform(0.0, _REST_SECONDS))

    async def _do(self, fault: Fault, epoch: float) -> Record | None:
        clock = SystemClock()
        at = clock.monotonic()
        try:
            detail = await fault.act(self.stack, random.Random(self.dice.random()))  # noqa: S311 - repeatable
        except Unavailable:  # rabbitmqctl gives up on a machine out of breath: then nothing was broken
            self.failed[fault.kind] += 1
            return None
        return Record(fault.kind, detail, at - epoch, clock.monotonic() - at)

    def counts(self) -> dict[str, int]:
        """Return how often each kind happened."""
        return dict(Counter(record.kind for record in self.records).most_common())

    def slowest(self) -> dict[str, float]:
        """Return the longest recovery after each kind, in seconds."""
        slowest: dict[str, float] = {}
        for record in self.records:
            slowest[record.kind] = max(slowest.get(record.kind, 0.0), round(record.recovery_seconds, 2))
        return slowest


def _rounds(dice: random.Random, faults: Sequence[Fault]) -> Iterator[list[Fault]]:
    """Take faults off the deck that touch different places; what does not fit waits for the next round."""
    deck, waiting = _deal(dice, faults), deque[Fault]()
    while True:
        together = [waiting.popleft() if waiting else next(deck)]
        for _ in range(dice.choices(range(len(_TOGETHER)), _TOGETHER)[0]):
            waiting.extend(islice(deck, max(0, _CHOICE - len(waiting))))
            places = {fault.place for fault in together}
            fitting = next((fault for fault in waiting if fault.place not in places), None)
            if fitting is not None:
                waiting.remove(fitting)
                together.append(fitting)
        yield together


def _deal(dice: random.Random, faults: Sequence[Fault]) -> Iterator[Fault]:
    """Deal every kind before any comes again too often."""
    while True:
        deck = [fault for fault in faults for _ in range(fault.weight)]
        dice.shuffle(deck)
        yield from deck
