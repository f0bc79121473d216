"""What a listener is: a function of a batch of events, and the queue they come from."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar, get_args, get_type_hints

from paybell.messaging.broker import Binding, Delivery
from paybell.messaging.events import PAY_EVENTS, PaymentSucceeded, PayOrderEvent
from paybell.storage import Database, Transaction


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
class New(Generic[Event]):
    """An event that comes from the queue; ``attempt`` is the publishing it says it comes from."""

    event: Event
    attempt: str | None


# Does in one statement what inbox and handler do with a batch that is in order; says whether it has done so.
AtOnce = Callable[[Sequence[New[Event]], Database], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Listener(Generic[Event]):
    """A handler with its binding; made by `listener`."""

    name: str
    binding: Binding
    event_type: type[Event]
    handle: Handler[Event]
    screen: Screen[Event] | None
    concerns: Callable[[Event], bool] | None
    verify: bool
    at_once: AtOnce[Event] | None = None

    async def __call__(self, events: Sequence[Event], tx: Transaction) -> Iterable[Rejected] | None:
        """Apply events in a transaction, as the runner does."""
        return await self.handle(events, tx)


def listener(
    binding: Binding,
    *,
    screen: Screen[Event] | None = None,
    concerns: Callable[[Event], bool] | None = None,
    verify: bool = True,
    at_once: AtOnce[Event] | None = None,
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
            acknowledged, and enter neither inbox nor failures. A `PayOrderEvent` of a type that the binding
            does not ask for is one of them: its type is signed, the routing key it came by is not.
        verify: a `PayOrderEvent` without a signature of ours becomes a dead letter ``not_signed``, whatever
            id it claims. A bare number (`PaymentSucceeded`) is proven by a ``screen`` alone. False: whoever
            may publish to the exchange is believed.
        at_once: is asked first, and remembers events in the inbox itself; only where it says False is the
            function called, with what the inbox does not know then.

    Raises:
        TypeError: the function is no such one, or nothing would prove its events.
    """

    def decorate(handle: Handler[Event]) -> Listener[Event]:
        event_type = _event_type(handle)
        if issubclass(event_type, PaymentSucceeded) and screen is None and verify:
            raise TypeError(
                f"{_name(handle)} would believe any number that somebody publishes: ask for PayOrderEvent, "
                "which is signed, give a screen that proves the payments, or say verify=False."
            )
        signed = verify and issubclass(event_type, PayOrderEvent)
        wanted: Callable[[Any], bool] | None = concerns
        if issubclass(event_type, PayOrderEvent):
            wanted = _of_type(binding, concerns)
        return Listener(binding.queue.name, binding, event_type, handle, screen, wanted, signed, at_once)

    return decorate


def _of_type(
    binding: Binding, concerns: Callable[[Any], bool] | None
) -> Callable[[PayOrderEvent], bool] | None:
    """Have only events concern a listener whose type its binding would bring to it."""
    if binding.exchange != PAY_EVENTS:  # a shop's own exchange may have other keys
        return concerns

    def asked_for(event: PayOrderEvent) -> bool:
        return PAY_EVENTS.matches(binding.key, event.type) and (concerns is None or concerns(event))

    return asked_for


def _event_type(handle: Handler[Event]) -> type[Event]:
    """Return the class of events that a function asks for; see `listener`."""
    if not inspect.iscoroutinefunction(handle):
        raise TypeError(f"{_name(handle)} must be an async function: write async def.")
    parameters = list(inspect.signature(handle).parameters)
    hints = get_type_hints(handle)
    wanted: tuple[Any, ...] = get_args(hints.get(parameters[0])) if len(parameters) == 2 else ()  # noqa: PLR2004
    if not wanted or not hasattr(wanted[0], "from_delivery"):
        raise TypeError(
            f"{_name(handle)} must say which events it takes: "
            f"async def {_name(handle)}(events: Sequence[PayOrderEvent], tx: Transaction)."
        )
    event_type: type[Event] = wanted[0]
    return event_type


def _name(handle: object) -> str:
    return str(getattr(handle, "__name__", handle))
