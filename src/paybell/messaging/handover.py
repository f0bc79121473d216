"""Events that go from the transaction that wrote them straight to a relay of the same process.

Whoever writes an event leases its row to this process in the same INSERT, and hands the event over when that
is committed: the relay publishes it without having to claim it, and without a second version of its row. If
this process dies first, the lease ends and any relay claims the event as it would any other.
"""

from collections import deque
from collections.abc import Sequence
from uuid import UUID, uuid4

from paybell.clock import Clock
from paybell.messaging.events import OutboxEvent

# After the death of a writer its events wait this long for another relay.
WRITER_LEASE_SECONDS = 3.0
# What is not confirmed by then is released and claimed, with the usual deadline: a confirm that comes later
# would find another relay publishing it already.
HANDED_DEADLINE_SECONDS = 1.5
# After a publishing that did not go well it stays shut for this long.
PAUSE_SECONDS = 5.0
# What more than this would hold is left in the outbox, where a backlog costs no memory.
WAITING_MAX = 4_096


class Handover:
    """Between writers and the relay of one process.

    Shut at first, and whenever publishing does not go well: writers then leave their events to whoever
    claims them, so that a broker that is away or slow uses up neither memory nor leases.
    """

    def __init__(self, clock: Clock) -> None:
        self.token = uuid4()
        self._clock = clock
        self._open = False
        self._shut_until = clock.monotonic()
        self._waiting: deque[tuple[float, OutboxEvent]] = deque()

    def lease(self) -> tuple[UUID, float] | None:
        """Return the lease under which to write events, and until when it certainly lasts; None: none."""
        if not self._open or len(self._waiting) >= WAITING_MAX:
            return None
        return self.token, self._clock.monotonic() + WRITER_LEASE_SECONDS

    def put(self, events: Sequence[OutboxEvent], until: float) -> None:
        """Hand over events that are committed, whose lease lasts until then."""
        self._waiting.extend((until, event) for event in events)

    def take(self, limit: int) -> list[OutboxEvent]:
        """Return up to ``limit`` of them whose lease outlasts a publishing; others are left to a claim."""
        latest = self._clock.monotonic() + HANDED_DEADLINE_SECONDS
        taken: list[OutboxEvent] = []
        while self._waiting and len(taken) < limit:
            until, event = self._waiting.popleft()
            if until > latest:
                taken.append(event)
        return taken

    def open(self) -> None:
        """Take events, since the broker takes messages; not so soon after it did not."""
        self._open = self._clock.monotonic() >= self._shut_until

    def shut(self) -> None:
        """Publishing does not go well; what was handed over comes free when its lease ends."""
        self._open, self._shut_until = False, self._clock.monotonic() + PAUSE_SECONDS
        self._waiting.clear()
