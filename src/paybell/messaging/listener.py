"""What a listener is: a function of a batch of events, and the queue they come from."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar, get_args, get_type_hints

from paybell.messaging.broker import Binding, Delivery
from paybell.storage import Transaction


class Readable(Protocol):
    """An event class a listener can ask for."""

    @property
    def event_id(self) -> str:
        """What the inbox knows the event by, 1 to 255 characters."""
        ...

    @classmethod
    def from_delivery(cls, delivery: Delivery) -> Self:
        """Read it from a delivery; raise `Unreadable` if it is none."""
        ...


Event = TypeVar("Event", bound=Readable)


@dataclass(frozen=True, slots=True)
class Rejected:
    """An event that trying again cannot help: straight to the dead letters, with this reason."""

    event_id: str
    reason: str
    error: str = ""


# Answers, before a transaction is opened, for the events that may not be applied: a `Rejected`, or
# an error that deserves another try, by event id.
Verdict = Rejected | Exception
Verdicts = Mapping[str, Verdict]
Screen = Callable[[Sequence[Event]], Awaitable[Verdicts]]
Handler = Callable[[Sequence[Event], Transaction], Awaitable[Iterable[Rejected] | None]]


@dataclass(frozen=True, slots=True)
class Listener(Generic[Event]):
    """A handler with its binding; made by `listener`."""

    name: str
    binding: Binding
    event_type: type[Event]
    handle: Handler[Event]
    screen: Screen[Event] | None
    concerns: Callable[[Event], bool] | None

    async def __call__(self, events: Sequence[Event], tx: Transaction) -> Iterable[Rejected] | None:
        """Apply events in a transaction, as the runner does."""
        return await self.handle(events, tx)


def listener(
    binding: Binding,
    *,
    screen: Screen[Event] | None = None,
    concerns: Callable[[Event], bool] | None = None,
) -> Callable[[Handler[Event]], Listener[Event]]:
    """Make a listener of ``async def handle(events: Sequence[SomeEvent], tx: Transaction)``.

    The function gets events it has not applied before, and does all its work in ``tx``. An
    exception undoes the batch; its halves are tried then, so that one bad event fails alone and
    is tried again later. The queue's name is the listener's name in the inbox.

    Args:
        binding: where the events come from; declared at the broker when the listener starts.
        screen: is asked before a transaction is open, so it may do I/O of its own; what it raises is
            isolated to its event like the handler's. An `Unavailable` among its answers uses up no
            attempt: whom it asks is away.
        concerns: says of an event whether it is this listener's business; others are counted and
            acknowledged, and enter neither inbox nor failures.
    """

    def decorate(handle: Handler[Event]) -> Listener[Event]:
        first = next(iter(inspect.signature(handle).parameters))
        event_type: Any = get_args(get_type_hints(handle)[first])[0]
        return Listener(binding.queue.name, binding, event_type, handle, screen, concerns)

    return decorate
