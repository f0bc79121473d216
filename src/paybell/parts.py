"""What a process lends to its contexts (`Host`), and what each of them adds to it (`Parts`)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from paybell.clock import Clock
from paybell.errors import Misconfigured, PaybellError
from paybell.ids import SnowflakeIds
from paybell.messaging.broker import Topology
from paybell.messaging.brokers import AnyBroker, broker_of
from paybell.messaging.declaring import Declaring
from paybell.messaging.measures import measure_failures, measure_outbox
from paybell.messaging.outbox import Outbox
from paybell.messaging.settings import MessagingSettings
from paybell.messaging.signatures import EventKeys
from paybell.storage import WATCHING, Database, DueWatch
from paybell.storage.node_numbers import RENEW_SECONDS, NodeNumber
from paybell.storage.server_state import oldest_snapshot_seconds
from paybell.telemetry.metrics import Measured, Metrics
from paybell.telemetry.observers import Observer
from paybell.tokens import Tokens
from paybell.web.event_streams import Streams
from paybell.web.problems import PROBLEMS
from paybell.web.refusals import ProblemTypes
from paybell.worker import Loop, Task

Check = Callable[[], Awaitable[None]]
# Has what holds a pay order let go of it, as far as that is certain.
Release = Callable[[int], Awaitable[None]]
Measure = Callable[[], Awaitable[Sequence[Measured]]]
Opened = TypeVar("Opened")
Service = TypeVar("Service")
Section = TypeVar("Section")
# A database that takes payments says so at once.
_READY_SECONDS = 1.5


@dataclass(slots=True)
class Parts:
    """What a context adds to a process of certain roles.

    Attributes:
        services: for whoever embeds Paybell; see `service`.
        routers: the web framework's; every route of theirs needs a token.
        open_routers: the same without a token, for what proves itself in another way.
        problems: how the errors of these routes are answered.
        shortcuts: make an ASGI application that answers some requests before the given one.
        loops: small steps, repeated.
        tasks: go on until they are stopped.
        checks: by name, what has to be well for this process to be ready; each raises `PaybellError`.
        measures: read what metrics show of a database; empty where it cannot be read.
        cashier: classes of the cashier page, by which it has the right places before it has asked anything.
    """

    services: list[object] = field(default_factory=list)
    routers: list[Any] = field(default_factory=list)
    open_routers: list[Any] = field(default_factory=list)
    problems: ProblemTypes = PROBLEMS
    shortcuts: list[Callable[[Any], Any]] = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    checks: dict[str, Check] = field(default_factory=dict)
    measures: list[Measure] = field(default_factory=list)
    cashier: set[str] = field(default_factory=set)

    def add(self, other: "Parts") -> None:
        """Take in what another context adds."""
        self.services += other.services
        self.routers += other.routers
        self.open_routers += other.open_routers
        self.problems |= other.problems
        self.shortcuts += other.shortcuts
        self.loops += other.loops
        self.tasks += other.tasks
        self.checks |= other.checks
        self.measures += other.measures
        self.cashier |= other.cashier

    def service(self, kind: type[Service]) -> Service:
        """Return the service of this class.

        Raises:
            LookupError: the roles of this process do not have it.
        """
        for one in self.services:
            if isinstance(one, kind):
                return one
        raise LookupError(f"no {kind.__name__} in this process")


class Host:
    """What contexts share in one process; what is opened here is closed with it, in reverse order."""

    def __init__(
        self,
        settings: MessagingSettings,
        *,
        roles: frozenset[str],
        urls: Mapping[str, str],
        clock: Clock,
        observer: Observer,
        metrics: Metrics,
        stack: AsyncExitStack,
    ) -> None:
        self.settings = settings
        self.roles = roles
        self.clock = clock
        self.observer = observer
        self.metrics = metrics
        self.tokens = Tokens.from_settings(settings, clock)
        self.event_keys = EventKeys.from_settings(settings)
        self.streams = Streams()
        # Set when files of keys may have changed: whoever has read some reads them again.
        self.read_again = asyncio.Event()
        self.checks: dict[str, Check] = {}
        self.measures: list[Measure] = [self._measure_roles]
        self.loops: list[Loop] = []
        self.tasks: list[Task] = []
        # What is asked to let go of a pay order that is to be closed, or paid by balance.
        self.releasing: list[Release] = []
        self._urls = urls
        self._stack = stack
        self._databases: dict[str, Database] = {}
        self._watching: dict[str, Database] = {}
        self._due: dict[str, DueWatch] = {}
        self._outbox: Outbox | None = None
        self._broker: AnyBroker | None = None
        self._declaring: Declaring | None = None

    def settings_of(self, kind: type[Section]) -> Section:
        """Return the settings of this process as one owner's, which sees no others."""
        assert isinstance(self.settings, kind), f"{kind.__name__} is no base of Settings"
        return self.settings

    async def open(self, part: AbstractAsyncContextManager[Opened]) -> Opened:
        """Enter a context until the process ends."""
        return await self._stack.enter_async_context(part)

    async def database(self, name: str) -> Database:
        """Return the database ``pay`` or ``trade``, connected, and checked for readiness.

        Raises:
            DatabaseUnavailable: not reached within a bounded wait. Misconfigured: it refuses us.
        """
        if name not in self._databases:
            url, connections = self._urls[name], self.settings.database_connections
            opened = await self.open(Database.open(url, self.clock, connections=connections, name=name))
            # One more session for what is measured: no payment waits for it, nor it for payments.
            watching = await self.open(
                Database.open(url, self.clock, connections=1, limits=WATCHING, name=name)
            )
            self._databases[name], self._watching[name] = opened, watching
            self.checks[f"{name}Database"] = opened.check
            self.measures += [
                partial(self._measure_ready, name, opened, watching),
                partial(_MEASURED_IN[name], watching),
                partial(_measure_snapshots, name, watching),
            ]
        return self._databases[name]

    async def watching(self, name: str) -> Database:
        """Return the same database with a session of its own for what is measured; errors as `database`."""
        await self.database(name)
        return self._watching[name]

    async def due(self, name: str) -> DueWatch:
        """Return what wakes the loops of this database; errors as `database`."""
        if name not in self._due:
            due = self._due[name] = DueWatch(await self.database(name))
            self.loops.append(due.looks(f"{name}-due"))
        return self._due[name]

    async def _measure_roles(self) -> Sequence[Measured]:
        return [Measured("role", 1, (role,)) for role in sorted(self.roles)]

    async def _measure_ready(self, name: str, database: Database, watching: Database) -> Sequence[Measured]:
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await watching.check()
            database.check_disk()
        except (PaybellError, TimeoutError):
            return [Measured("database_ready", 0, (name,))]
        return [Measured("database_ready", 1, (name,))]

    async def ids(self, name: str) -> SnowflakeIds:
        """Return a source of ids that no other process of this database has."""
        number = await NodeNumber.take(await self.database(name), self.clock)
        self.loops.append(Loop(f"{name}-node-number", number.renew, idle_seconds=RENEW_SECONDS))
        return number.ids

    async def outbox(self) -> Outbox:
        """Return the one outbox of the pay database: who appends wakes who publishes."""
        if self._outbox is None:
            self._outbox = Outbox(await self.database("pay"))
        return self._outbox

    @property
    def broker(self) -> AnyBroker:
        """The broker, connected on first use."""
        if self._broker is None:
            self._broker = broker_of(self.settings)
            self._stack.push_async_callback(self._broker.close)
        return self._broker

    async def declare(self, wanted: Topology) -> None:
        """Declare a topology, or have it declared as soon as a broker that is away is there.

        Raises:
            Misconfigured: the broker refuses. If it does so later, ``broker_refused`` has the error.
        """
        if self._declaring is None:
            self._declaring = Declaring(self.broker, self.clock)
        if not await self._declaring.declare(wanted) and not self.tasks:
            self.tasks.append(Task("broker", self._declaring.run))

    @property
    def broker_refused(self) -> "asyncio.Future[Misconfigured] | None":
        """The error of a broker that came after the start and refused; None: there is nothing to wait for."""
        return self._declaring.refused if self._declaring else None

    async def check_broker(self) -> None:
        """Make sure that publishing would be tried right now.

        Raises:
            PaybellError: it would not.
        """
        if not self.broker.connected:
            raise PaybellError("The broker is not connected, or it blocks publishers.")


async def _measure_snapshots(name: str, database: Database) -> Sequence[Measured]:
    return [Measured("oldest_snapshot_seconds", await oldest_snapshot_seconds(database), (name,))]


_MEASURED_IN = {"pay": measure_outbox, "trade": measure_failures}
