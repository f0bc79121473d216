"""What the parts report of their work, in plain values; metrics and traces observe the same points."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Protocol


class SettlementObserver(Protocol):
    """Watches payments."""

    def settling(self, traceparents: Sequence[str]) -> AbstractContextManager[object]:
        """Surround the transaction of a batch of payments with these W3C trace contexts."""
        return nullcontext()

    def settled(self, outcome: str) -> None:
        """Count one payment: ``succeeded``, or the code of its refusal."""
        return


class RelayObserver(Protocol):
    """Watches a relay."""

    def publishing(self, traceparents: Sequence[str], messages: int) -> AbstractContextManager[object]:
        """Surround the publishing of a batch of events, until all its confirms are there."""
        return nullcontext()

    def published(self, confirms: Mapping[str, int]) -> None:
        """Count a batch's messages by their confirm."""
        return

    def leases_lost(self, events: int) -> None:
        """Count the events of a batch that another relay took over meanwhile."""
        return


class ListenerObserver(Protocol):
    """Watches a listener."""

    def applying(self, queue: str, traceparents: Sequence[str]) -> AbstractContextManager[object]:
        """Surround what is done with a batch of deliveries, until it is on disk."""
        return nullcontext()

    def applied(self, events: int, duplicates: int) -> None:
        """Count a committed batch: new events, and ones the inbox knew already."""
        return

    def ignored(self, events: int) -> None:
        """Count events that are none of the listener's business."""
        return

    def failed(self, *, dead: bool) -> None:
        """Count one delivery that could not be applied: it waits for another attempt, or is dead."""
        return


class NoticeObserver(Protocol):
    """Watches the notices that channels send."""

    def noticed(self, outcome: str) -> None:
        """Count one: ``taken``, ``refused`` (no channel's), ``waits``, or ``turned_away`` unread."""
        return


class Observer(SettlementObserver, RelayObserver, ListenerObserver, NoticeObserver):
    """An observer of all points; this one looks away, and is what others begin with."""


class Observers(Observer):
    """Several observers as one."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def settling(self, traceparents: Sequence[str]) -> AbstractContextManager[object]:
        """Surround it with all of them."""
        return _all(one.settling(traceparents) for one in self._observers)

    def settled(self, outcome: str) -> None:
        """Report it to all."""
        for one in self._observers:
            one.settled(outcome)

    def publishing(self, traceparents: Sequence[str], messages: int) -> AbstractContextManager[object]:
        """Surround it with all of them."""
        return _all(one.publishing(traceparents, messages) for one in self._observers)

    def published(self, confirms: Mapping[str, int]) -> None:
        """Report it to all."""
        for one in self._observers:
            one.published(confirms)

    def leases_lost(self, events: int) -> None:
        """Report it to all."""
        for one in self._observers:
            one.leases_lost(events)

    def applying(self, queue: str, traceparents: Sequence[str]) -> AbstractContextManager[object]:
        """Surround it with all of them."""
        return _all(one.applying(queue, traceparents) for one in self._observers)

    def applied(self, events: int, duplicates: int) -> None:
        """Report it to all."""
        for one in self._observers:
            one.applied(events, duplicates)

    def ignored(self, events: int) -> None:
        """Report it to all."""
        for one in self._observers:
            one.ignored(events)

    def failed(self, *, dead: bool) -> None:
        """Report it to all."""
        for one in self._observers:
            one.failed(dead=dead)

    def noticed(self, outcome: str) -> None:
        """Report it to all."""
        for one in self._observers:
            one.noticed(outcome)


@contextmanager
def _all(surrounding: Iterable[AbstractContextManager[object]]) -> Iterator[None]:
    with ExitStack() as stack:
        for one in surrounding:
            stack.enter_context(one)
        yield
