"""Publishing the messages of events, and what the broker's answers mean for each event."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from paybell.clock import Clock
from paybell.errors import BrokerUnavailable, Misconfigured
from paybell.messaging.broker import Answer, Broker, Confirm, Denied, Message, Route, Topology
from paybell.telemetry.observers import RelayObserver

log = structlog.get_logger()
_NO_SUCH_EXCHANGE = 404


@dataclass(frozen=True, slots=True)
class Refusal:
    """The broker does not take messages by a route.

    ``reason``: ``refused``, a bound queue takes nothing more (Basic.Nack); ``returned``, no queue is
    bound; ``denied``, publishing there ends the channel; ``unanswered``, no confirm in time while others
    had theirs. ``detail`` is for people.
    """

    route: Route
    reason: str
    detail: str

    @property
    def closes_route(self) -> bool:
        """Say whether the next message by this route would only cost others their channel or their time."""
        return self.reason in ("denied", "unanswered")


@dataclass(frozen=True, slots=True)
class Aside:
    """An event of which a message was refused, and the exchanges that have confirmed theirs."""

    id: int
    refusal: Refusal
    confirmed: Sequence[str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of events, by their ids."""

    done: Sequence[int]
    unknown: Sequence[int]
    refused: Sequence[Aside]


class Publishing:
    """The way to the broker that all who relay in one process share."""

    def __init__(
        self,
        broker: Broker,
        topology: Topology,
        observer: RelayObserver,
        clock: Clock,
        deadline_seconds: float,
    ) -> None:
        self._broker = broker
        self._topology = topology
        self._observer = observer
        self._clock = clock
        self._deadline_seconds = deadline_seconds
        self._declared = False
        self._refused = ""

    async def prepare(self) -> None:
        """Make sure that publishing may be tried.

        What cannot be declared any more, after the start, may still be published to: each message tells.

        Raises:
            BrokerUnavailable: it may not.
        """
        if not self._declared:
            await self._declare()
            self._declared = True
        if not self._broker.connected:
            self._declared = False
            raise BrokerUnavailable

    async def _declare(self) -> None:
        try:
            await self._broker.declare(self._topology)
        except Misconfigured as error:
            if str(error) != self._refused:
                log.warning("topology_refused", detail=str(error))
            self._refused = str(error)
        else:
            self._refused = ""

    async def send(
        self,
        ids: Sequence[int],
        batches: Sequence[Sequence[Message]],
        traceparents: Sequence[str],
        closed: Mapping[Route, Refusal],
        shorter_seconds: float | None = None,
    ) -> Outcome:
        """Publish the messages of each event, but none by a route that is closed.

        ``shorter_seconds``: wait no longer than this for confirms, and conclude nothing from silence.

        Raises:
            BrokerUnavailable: nothing was published.
        """
        flat = [message for messages in batches for message in messages]
        tried = [message for message in flat if message.route not in closed] if closed else flat
        started = self._clock.monotonic()
        try:
            with self._observer.publishing(traceparents, len(tried)):
                answers = await self._broker.publish(tried, shorter_seconds or self._deadline_seconds)
        except BrokerUnavailable:
            self._declared = False
            raise
        self._observer.published(Counter(map(_counted, answers)))
        late = self._clock.monotonic() - started >= self._deadline_seconds
        given = iter(_explained(tried, answers, late=late))
        said = (
            [closed[one.route] if one.route in closed else next(given) for one in flat] if closed else given
        )
        return self._sorted(ids, batches, said)

    def _sorted(
        self, ids: Sequence[int], batches: Sequence[Sequence[Message]], said: Iterable[Answer | Refusal]
    ) -> Outcome:
        answers = iter(said)
        done, unknown, refused = [], [], []
        for number, messages in zip(ids, batches, strict=True):
            outcomes = [next(answers) for _ in messages]
            refusals = [one for one in outcomes if isinstance(one, Refusal)]
            if refusals:
                pairs = zip(messages, outcomes, strict=True)
                confirmed = [message.exchange for message, one in pairs if one is Confirm.CONFIRMED]
                refused.append(Aside(number, refusals[0], confirmed))
            elif Confirm.UNKNOWN in outcomes:
                unknown.append(number)
            else:
                done.append(number)
        gone = [one for one in refused if one.refusal.reason == "returned" or _is_gone(one.refusal)]
        if unknown or gone:
            self._declared = (
                False  # a queue, a binding or an exchange may be gone: declare before the next try
            )
        return Outcome(done, unknown, refused)


def _is_gone(refusal: Refusal) -> bool:
    return refusal.reason == "denied" and refusal.detail.startswith(f"{_NO_SUCH_EXCHANGE} ")


def _explained(
    messages: Sequence[Message], answers: Sequence[Answer], *, late: bool
) -> list[Answer | Refusal]:
    """Say of each answer that is a refusal why; most batches have none."""
    if all(answer is Confirm.CONFIRMED for answer in answers):
        return list(answers)
    silent = late and any(answer is not Confirm.UNKNOWN for answer in answers)
    pairs = zip(messages, answers, strict=True)
    return [_refusal(message.route, answer, silent=silent) or answer for message, answer in pairs]


def _refusal(route: Route, answer: Answer, *, silent: bool) -> Refusal | None:
    if isinstance(answer, Denied):
        return Refusal(route, "denied", f"{answer.code} {answer.text}")
    if answer is Confirm.REFUSED:
        return Refusal(route, "refused", "a queue that is bound there is full, or takes nothing")
    if answer is Confirm.RETURNED:
        return Refusal(route, "returned", "no queue is bound there")
    if answer is Confirm.UNKNOWN and silent:
        return Refusal(route, "unanswered", "a queue that is bound there does not confirm")
    return None


def _counted(answer: Answer) -> str:
    return answer.value if isinstance(answer, Confirm) else Confirm.REFUSED.value
