"""The whole system in real processes, PostgreSQL and RabbitMQ, and a line between any two."""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from paybell.clock import SystemClock
from paybell.environment.reading import variable_of
from paybell.errors import Unavailable
from paybell.messaging.events import TRADE_QUEUE
from paybell.serving.databases import SCHEMAS
from paybell.storage.migrate import migrate
from paybell.testing.ports import LOOPBACK, free_port
from paybell.testing.rabbitmq_install import ensure_installed
from paybell.testing.rabbitmq_node import RabbitmqNode
from torture.channels import Channels, running_channels
from torture.postgres import Postgres
from torture.proxy import Line, line

COPIES = {"api": 2, "relay": 2, "trade": 2, "ops": 1}
# Short, so that a run sees many leases end; a frozen process is frozen for longer.
LEASE_SECONDS, PUBLISH_DEADLINE_SECONDS = 3.0, 1.5
# What RabbitMQ 4 grants each message of a quorum queue by itself; 3.10 needs a policy for it.
DELIVERY_LIMIT = 20
# While this file is in the home, an event kills.
DEADLY = "deadly"
# How soon what a deleted queue took along comes back.
RECONCILE_SECONDS = 10
# A Python process with a web framework starts in 1 s on a free core; six share two here.
_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_QUEUE = f'rabbit_misc:r(<<"/">>, queue, <<"{TRADE_QUEUE}">>)'


def died_of_it(deadly: Path, process: int) -> Path:
    """Return the file that a process leaves when it dies of the event."""
    return deadly.with_suffix(f".died-{process}")


@dataclass(slots=True)
class Part:
    """One Paybell process, started as often as it dies."""

    name: str
    role: str
    port: int
    environment: Mapping[str, str]
    log: Path
    lines: dict[str, Line]
    process: subprocess.Popen[bytes] | None = None
    lives: int = 0
    skew: float = 0.0
    wanted: bool = False
    log_start: int = field(default=0)

    @property
    def url(self) -> str:
        """Where it answers HTTP, without a line between."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def runs(self) -> bool:
        """Say whether its process exists."""
        return self.process is not None and self.process.poll() is None

    def start(self, skew: float = 0.0) -> None:
        """Start it, its clock so many seconds fast."""
        assert not self.runs
        self.lives += 1
        self.skew, self.wanted = skew, True
        command = [sys.executable, "-m", "torture.part", str(skew), "serve"]
        command += ["--role", self.role, "--port", str(self.port)]
        with self.log.open("ab") as output:
            self.log_start = output.tell()
            self.process = subprocess.Popen(  # noqa: S603 - ourselves
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for us
            )

    def kill(self) -> None:
        """Crash it (SIGKILL)."""
        self.wanted = False
        self._signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    async def stop(self) -> None:
        """End it in order (SIGTERM), as a deployment does."""
        self.wanted = False
        self.thaw()
        self._signal(signal.SIGTERM)
        if self.process is not None:
            with suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self.process.wait, _STOP_SECONDS)
                return
            self.kill()

    def freeze(self) -> None:
        """Stop it where it stands (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def served(self) -> bool:
        """Say whether its present or last life got as far as serving."""
        with self.log.open("rb") as log:
            log.seek(self.log_start)
            return b"service_started" in log.read()

    def _signal(self, number: signal.Signals) -> None:
        if self.runs and self.process is not None:
            self.process.send_signal(number)


@dataclass(slots=True)
class Stack:
    """Everything that can be broken. ``pay`` and ``trade`` are where clients go.

    ``destroyed`` messages went with a queue that was deleted. While the file ``deadly`` exists, an event
    ends the processes of the role ``trade``; ``killed`` have been.
    """

    home: Path
    queue_type: str
    secret: str
    postgres: Postgres
    rabbit: RabbitmqNode
    parts: dict[str, Part]
    pay: Line
    trade: Line
    channels: Channels
    deaths: list[str] = field(default_factory=list)
    destroyed: int = 0
    killed: int = 0

    @property
    def deadly(self) -> Path:
        """The file that says so; see `torture.part`."""
        return self.home / DEADLY

    @property
    def whole(self) -> bool:
        """Say whether every process runs that should."""
        return all(part.runs or not part.wanted for part in self.parts.values())

    @property
    def lines(self) -> list[Line]:
        """Every line there is."""
        inner = [one for part in self.parts.values() for one in part.lines.values()]
        return [self.pay, self.trade, self.channels.line, *inner]

    def of(self, kind: str) -> list[Line]:
        """Return the lines to ``database`` or ``broker``."""
        return [part.lines[kind] for part in self.parts.values() if kind in part.lines]

    async def heal(self) -> None:
        """Undo every fault there may be."""
        for one in self.lines:
            one.heal()
        await self.channels.heal()
        await asyncio.to_thread(self.postgres.thaw)
        self.rabbit.resume()
        for part in self.parts.values():
            part.thaw()
            if part.skew:
                part.kill()
            if not part.runs:
                part.start()

    async def ready(self) -> None:
        """Wait until every part serves.

        Raises:
            Unavailable: one does not.
        """
        clock = SystemClock()
        deadline = clock.monotonic() + _START_SECONDS
        for part in self.parts.values():
            while not part.served():
                if clock.monotonic() > deadline:
                    raise Unavailable(f"{part.name} does not serve; see {part.log}.")
                await asyncio.sleep(0.05)

    async def keep(self) -> None:
        """Start again what has ended by itself, as any supervisor does, and remember it."""
        while True:
            for part in self.parts.values():
                if part.wanted and not part.runs:
                    if part.process and died_of_it(self.deadly, part.process.pid).exists():
                        self.killed += 1
                    elif part.served():  # while starting it may give up on an outage, never afterwards
                        self.deaths.append(part.name)
                    part.start(part.skew)
            await asyncio.sleep(0.5)

    async def erlang(self, expression: str) -> str:
        """Evaluate Erlang in the broker."""
        return await asyncio.to_thread(self.rabbit.evaluate, expression)

    async def on_queue(self, expression: str) -> str:
        """Evaluate Erlang in the broker, with ``Q`` the record of the listeners' queue."""
        return await self.erlang(f"{{ok, Q}} = rabbit_amqqueue:lookup({_QUEUE}), {expression}")


async def _migrate(postgres: Postgres) -> None:
    for name, schemas in SCHEMAS.items():
        for schema in schemas:
            await migrate(postgres.urls[f"paybell_{name}"], schema)


@asynccontextmanager
async def running_stack(home: Path, queue_type: str) -> AsyncIterator[Stack]:
    """Start everything in a folder; take all of it down at the end, whatever state it is in.

    Quorum queues drop what was delivered too often, as they do by themselves from RabbitMQ 4 on.
    """
    secret = secrets.token_urlsafe(48)
    async with AsyncExitStack() as cleanup:
        postgres = Postgres(home / "pg")
        cleanup.push_async_callback(asyncio.to_thread, postgres.stop)
        await asyncio.to_thread(postgres.start)
        await _migrate(postgres)
        await asyncio.to_thread(ensure_installed, print)
        rabbit = await asyncio.to_thread(RabbitmqNode.start)
        cleanup.push_async_callback(asyncio.to_thread, rabbit.close)
        if queue_type == "quorum":
            limit = f'{{"delivery-limit": {DELIVERY_LIMIT}}}'
            await asyncio.to_thread(rabbit.ctl, "set_policy", "limit", ".*", limit, "--apply-to", "queues")
        ports = {role: [free_port() for _ in range(copies)] for role, copies in COPIES.items()}
        pay = await cleanup.enter_async_context(line("pay", *ports["api"]))
        trade = await cleanup.enter_async_context(line("trade", *ports["trade"]))
        channels = await cleanup.enter_async_context(running_channels(home / "channels", pay.port))
        stack = Stack(home, queue_type, secret, postgres, rabbit, {}, pay, trade, channels)
        for role in COPIES:
            for number, port in enumerate(ports[role], 1):
                part = await _part(cleanup, stack, f"{role}-{number}", role, port)
                stack.parts[part.name] = part
        cleanup.callback(_kill_all, stack)
        for part in stack.parts.values():
            part.start()
        await stack.ready()
        keeper = asyncio.create_task(stack.keep())
        cleanup.callback(keeper.cancel)
        yield stack


async def _part(cleanup: AsyncExitStack, stack: Stack, name: str, role: str, port: int) -> Part:
    lines = {"database": await cleanup.enter_async_context(line(f"{name}→database", stack.postgres.socket))}
    broker = "amqp://guest:guest@127.0.0.1:5/"  # not needed, and not there
    if role != "api":
        lines["broker"] = await cleanup.enter_async_context(line(f"{name}→broker", stack.rabbit.port))
        broker = f"amqp://guest:guest@{LOOPBACK}:{lines['broker'].port}/%2f"
    database = f"postgresql://postgres@{LOOPBACK}:{lines['database'].port}"
    settings = {
        "PAYBELL_HOME": stack.home,
        "PAYBELL_DATABASE_URL": f"{database}/paybell_pay?sslmode=disable",
        "PAYBELL_TRADE_DATABASE_URL": f"{database}/paybell_trade?sslmode=disable",
        "PAYBELL_BROKER_URL": broker,
        "PAYBELL_PAY_URL": f"http://{LOOPBACK}:{stack.pay.port}",
        "PAYBELL_JWT_SECRET": stack.secret,
        "PAYBELL_PIN_PEPPER": "1:" + stack.secret,
        "PAYBELL_RELAY_LEASE_SECONDS": LEASE_SECONDS,
        "PAYBELL_PUBLISH_DEADLINE_SECONDS": PUBLISH_DEADLINE_SECONDS,
        "PAYBELL_RECONCILE_SECONDS": RECONCILE_SECONDS,
        "PAYBELL_LOG_FORMAT": "json",
        "PAYBELL_QUEUE_TYPE": stack.queue_type,
    }
    settings |= {variable_of(name): value for name, value in stack.channels.settings.items()}
    outer = {key: value for key, value in os.environ.items() if not key.startswith("PAYBELL_")}
    environment = outer | {key: str(value) for key, value in settings.items()}
    return Part(name, role, port, environment, stack.home / f"{name}.log", lines)


def _kill_all(stack: Stack) -> None:
    for part in stack.parts.values():
        part.kill()
