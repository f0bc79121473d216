"""``paybell doctor``: what is wrong with this set-up, in plain words, and what to do about it."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.table import Table

from paybell.cli.output import out, print_json
from paybell.cli.roles import Role, databases_of, roles_of
from paybell.clock import Clock, SystemClock
from paybell.environment.reading import service_links
from paybell.errors import BrokerUnavailable, Misconfigured, PaybellError
from paybell.messaging.broker import Confirm, Denied, Message
from paybell.messaging.events import PAY_EVENTS, TRADE_QUEUE, topology, trade_topology
from paybell.messaging.failures import FailureStore
from paybell.messaging.outbox import Outbox
from paybell.messaging.rabbitmq.broker import RabbitBroker
from paybell.operations import samples, sampling, troubles
from paybell.serving.databases import SCHEMAS, databases, is_embedded, named
from paybell.settings import ROLES, Settings, read_settings
from paybell.settings.secrets import with_secrets
from paybell.storage import Database, Query, migrate
from paybell.storage.runtime_role import owned_tables
from paybell.storage.schema import Schema
from paybell.tokens import Tokens
from paybell.trade.errors import PayServiceUnavailable
from paybell.trade.pay_client import PayClient
from paybell.trade.presence import LOOKS, ForeignConsumers, processes

# Machines' clocks further apart than this make deadlines and traces look wrong.
CLOCK_MOST_SECONDS = 1.0
_CONFIRM_SECONDS = 3.0
# Between looks at who consumes.
_LOOK_SECONDS = 0.3
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
State = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: ``advice`` says what to do, empty when it is well."""

    part: str
    state: State
    what: str
    advice: str = ""


async def doctor(
    *, role: tuple[Role, ...] = ("all",), json: Annotated[bool, Parameter(negative="")] = False
) -> int:
    """Look at settings, databases, clock, broker and what waits; exit code 1 when something must be repaired.

    What the service sets up when it starts is set up here too: an embedded database, development secrets, the
    topology at RabbitMQ. A message `paybell.doctor` without a body is published to each exchange to see it
    confirmed. Nothing else is changed.

    Args:
        role: all, or those that `paybell serve` runs in this installation; only what they need is looked at.
        json: end with one JSON line.
    """
    findings = [finding async for finding in examine(SystemClock(), os.environ, roles_of(role))]
    if json:
        print_json(
            {
                "ok": all(one.state != "error" for one in findings),
                "findings": [
                    {"part": one.part, "state": one.state, "what": one.what, "advice": one.advice}
                    for one in findings
                ],
            }
        )
    else:
        table = Table("", "part", "what", "what to do")
        marks = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "error": "[red]✗[/]"}
        for one in findings:
            table.add_row(marks[one.state], one.part, one.what, one.advice)
        out.print(table)
    return 1 if any(one.state == "error" for one in findings) else 0


async def examine(
    clock: Clock,
    environ: Mapping[str, str] = os.environ,
    roles: frozenset[str] = ROLES,
    /,
    **overrides: object,
) -> AsyncIterator[Finding]:
    """Look at what these roles need, one part after the other; what needs a broken part is left out."""
    try:
        settings = with_secrets(read_settings(environ, **overrides))
    except PaybellError as error:
        yield _error("settings", error)
        return
    for finding in _settings(environ):
        yield finding
    yield await _port(settings)
    async for finding in _databases(settings, roles, clock):
        yield finding
    if settings.pay_url:
        yield await _pay_service(settings, clock)
    async for finding in _broker(settings, roles, clock):
        yield finding


def _error(part: str, error: PaybellError) -> Finding:
    """Split a sentence of ours into what is wrong and what to do."""
    what, _, advice = str(error).partition("; ")
    return Finding(part, "error", what, advice or "See the sentence; nothing was changed.")


def _settings(environ: Mapping[str, str]) -> Iterator[Finding]:
    yield Finding("settings", "ok", "readable, secrets present")
    for name in service_links(environ):
        yield Finding(
            "settings",
            "warning",
            f"{name} is Kubernetes' address of a service, and is ignored",
            "Set enableServiceLinks: false in the pod, or give the service another name.",
        )


async def _port(settings: Settings) -> Finding:
    where = f"{settings.host}:{settings.port}"
    try:
        server = await asyncio.start_server(lambda *_: None, settings.host, settings.port)
    except OSError as error:
        return Finding(
            "port",
            "warning",
            f"{where} cannot be listened on: {error.strerror}",
            "If that is not this service already running, set PAYBELL_PORT to a free one, PAYBELL_HOST to an "
            "address of this machine.",
        )
    server.close()
    await server.wait_closed()
    return Finding("port", "ok", f"{where} is free")


# Databases -----------------------------------------------------------------------------------------


async def _databases(settings: Settings, roles: frozenset[str], clock: Clock) -> AsyncIterator[Finding]:
    try:
        names = databases_of(roles)
        with databases(settings, names) as urls:
            if is_embedded(settings, names):
                yield Finding("databases", "ok", f"the embedded PostgreSQL, in {settings.home}")
            for name in urls:
                embedded = is_embedded(settings, [name])
                async for finding in _database(name, urls[name], clock, embedded=embedded):
                    yield finding
                with suppress(PaybellError):  # whatever it is, it has been said
                    async for finding in _room(name, urls[name], settings.database_connections, clock):
                        yield finding
            with suppress(PaybellError):
                async for finding in _waiting(settings, urls, clock):
                    yield finding
    except PaybellError as error:  # a URL that is missing, or the embedded server
        yield _error("database", error)


async def _database(name: str, url: str, clock: Clock, *, embedded: bool) -> AsyncIterator[Finding]:
    part = f"{name} database"
    try:
        with named(name):
            behind = [text for schema in SCHEMAS[name] if (text := await _behind(url, schema))]
            if behind:
                advice = "Run paybell migrate, or the release that made it."
                yield Finding(part, "error", "; ".join(behind), advice)
                return
            async with Database.open(url, clock, connections=2, wait_seconds=2) as database:
                await database.check()
                yield Finding(part, "ok", "answers, schema as needed")
                yield await _clock(part, database, clock)
                if not embedded:
                    yield await _role(part, database)
    except PaybellError as error:
        yield _error(part, error)


async def _behind(url: str, schema: Schema) -> str:
    found = await migrate.revision(url, schema)
    if found.usable:
        return ""
    return f"schema {schema.name} is {found.current or 'not there'}, this version needs {found.needed}"


async def _clock(part: str, database: Database, clock: Clock) -> Finding:
    before = clock.now()
    row = await database.fetch_one(Query("SELECT clock_timestamp() AS now"))
    assert row is not None
    off = (row["now"] - before).total_seconds()
    if abs(off) > CLOCK_MOST_SECONDS:
        what = f"this machine and the {part}'s differ by {abs(off):.1f} s"
        return Finding("clock", "error", what, "Synchronise both with NTP (timedatectl, chronyc).")
    return Finding("clock", "ok", f"agrees with the {part}'s")


async def _role(part: str, database: Database) -> Finding:
    """Whoever owns the tables can rewrite history whatever its triggers say."""
    role, tables = await owned_tables(database)
    if not tables:
        return Finding(part, "ok", f"{role} owns no table: it cannot change history")
    return Finding(
        part,
        "warning",
        f"{role} owns {tables} tables, so it can change or empty the history of payments",
        "As the owner run paybell migrate --runtime-role NAME, and let the service's URL name NAME.",
    )


async def _room(name: str, url: str, connections: int, clock: Clock) -> AsyncIterator[Finding]:
    """Compare the connections a process may open with what the server lets this user have."""
    async with Database.open(url, clock, connections=1, wait_seconds=2) as database:
        allowed = await database.sessions_allowed()
    if allowed < connections:
        yield Finding(
            f"{name} database",
            "warning",
            f"each process may open {connections} connections, this user may have {allowed} in all",
            "Lower PAYBELL_DATABASE_CONNECTIONS, or raise CONNECTION LIMIT of the role and the database, or "
            "max_connections.",
        )


# What waits ----------------------------------------------------------------------------------------

# Troubles that the databases show: part, how bad, what, and what to do; ``{figure}`` and ``{where}`` are
# the trouble's.
_WORDS: Mapping[str, tuple[str, State, str, str]] = {
    "outbox_old": (
        "outbox",
        "error",
        "{pending:,} events wait, the oldest for {figure:.0f} s",
        "Start a relay (paybell serve --role background) and see that it reaches the broker.",
    ),
    "messages_refused": (
        "refused messages",
        "error",
        "RabbitMQ refuses messages at {where}; {figure:,.0f} events wait",
        (
            "A full queue: have its owner consume it, or unbind it. 403: give the user of "
            "PAYBELL_BROKER_URL the right (rabbitmqctl set_permissions, set_topic_permissions). 404, or no "
            "queue: start a relay that may declare it. The events are kept and tried again by themselves."
        ),
    ),
    "old_snapshot": (
        "pay database",
        "warning",
        "a transaction has kept its snapshot for {figure:,.0f} s; what was removed since stays in the tables",
        "Find it in pg_stat_activity by xact_start; let a dump or paybell verify end, end a forgotten one.",
    ),
    "overdue": (
        "deadlines",
        "error",
        "a pay order has been past its deadline for {figure:.0f} s and is not closed",
        "Start the background work (paybell serve --role background).",
    ),
    "differences": (
        "books",
        "warning",
        "pay and trade differ on {figure:,.0f} purchases",
        "What was not delivered is republished by itself; paybell reconcile shows what stays.",
    ),
    "dead_letters": (
        "dead letters",
        "warning",
        "{figure:,.0f} messages were given up",
        "See paybell dead-letters list; replay or acknowledge them: none is removed before.",
    ),
}


async def _waiting(settings: Settings, urls: Mapping[str, str], clock: Clock) -> AsyncIterator[Finding]:
    """Take one sample as the console does, and name what it names; of one database, what waits there."""
    if len(urls) == 1:
        yield await (_outbox(urls["pay"], clock) if "pay" in urls else _dead_letters(urls["trade"], clock))
        return
    async with (
        Database.open(urls["pay"], clock, connections=2, wait_seconds=2) as pay,
        Database.open(urls["trade"], clock, connections=2, wait_seconds=2) as trade,
    ):
        sampler = sampling.Sampler(pay, trade, None, clock, settings.merchant_id, settle_time=None)
        sample = await sampler.take()
    pending = sample.outbox_pending or 0
    found = {one.code for one in sample.troubles}
    if "outbox_old" not in found:
        yield Finding("outbox", "ok", f"{pending:,} events wait")
    if "dead_letters" not in found:
        yield Finding("dead letters", "ok", f"none; {sample.retries or 0:,} are tried again by themselves")
    for code in _WORDS:
        for one in sample.troubles:
            if one.code == code:
                yield _said(one, pending)


async def _outbox(url: str, clock: Clock) -> Finding:
    async with Database.open(url, clock, connections=1, wait_seconds=2) as pay:
        pending, oldest = await Outbox(pay).state()
    if oldest > troubles.OUTBOX_MOST_SECONDS:
        return _said(samples.Trouble("outbox_old", oldest), pending)
    return Finding("outbox", "ok", f"{pending:,} events wait")


async def _dead_letters(url: str, clock: Clock) -> Finding:
    async with Database.open(url, clock, connections=1, wait_seconds=2) as trade:
        counts = await FailureStore(trade).counts()
    if counts["dead"]:
        return _said(samples.Trouble("dead_letters", counts["dead"]), 0)
    return Finding("dead letters", "ok", f"none; {counts['retry']:,} are tried again by themselves")


def _said(trouble: samples.Trouble, pending: int) -> Finding:
    part, state, what, advice = _WORDS[trouble.code]
    text = what.format(figure=trouble.figure, where=trouble.part, pending=pending)
    return Finding(part, state, text, advice)


# The pay service -----------------------------------------------------------------------------------


async def _pay_service(settings: Settings, clock: Clock) -> Finding:
    try:
        tokens = Tokens.from_settings(settings, clock)
        async with PayClient.open(settings.pay_url, tokens, clock) as client:
            await client.check()
    except PayServiceUnavailable:
        what = "does not answer at PAYBELL_PAY_URL"
        return Finding(
            "pay service", "error", what, "Start it (paybell serve --role api), or set its address."
        )
    except PaybellError as error:
        return _error("pay service", error)
    return Finding("pay service", "ok", "answers, and takes our tokens")


# The broker ----------------------------------------------------------------------------------------


async def _broker(settings: Settings, roles: frozenset[str], clock: Clock) -> AsyncIterator[Finding]:
    if settings.broker_url.startswith("local:"):
        yield Finding("broker", "ok", "local, inside the process")
        return
    try:
        async with _connected(settings) as broker:
            await broker.declare(topology(settings.queue_type))
            if "trade" in roles:  # without it nobody takes anything out of these
                await broker.declare(trade_topology(settings.queue_type))
            yield Finding("topology", "ok", "exchanges and queues are as they must be")
            with suppress(PaybellError):  # whatever it is, it has been said, or will be
                yield await (_listeners(settings, broker, clock) if "trade" in roles else _others(broker))
            yield await _publishing(broker)
    except Misconfigured as error:
        part = "topology" if "refuses the" in str(error) else "broker"
        yield _error(part, error)
    except BrokerUnavailable as error:
        yield _error("broker", error)


async def _listeners(settings: Settings, broker: RabbitBroker, clock: Clock) -> Finding:
    """Compare who consumes trade's queues with who should."""
    names = [binding.queue.name for one in (topology(), trade_topology()) for binding in one.bindings]
    with databases(settings, ["trade"]) as urls:
        async with Database.open(urls["trade"], clock, connections=1, wait_seconds=2) as database:
            foreign = ForeignConsumers(database, broker, names)
            for _ in range(LOOKS):
                found = await foreign.find()
                await clock.sleep(_LOOK_SECONDS)
            ours = await processes(database)
    others = {queue: count for queue, count in found.items() if count}
    if others:
        what = ", ".join(f"{count} of {queue}" for queue, count in others.items())
        return Finding(
            "listeners",
            "error",
            f"consumers that are not Paybell's take messages that trade would apply: {what}",
            "With an order service of your own do not run the role trade (docs/how-to/take-over.md); with "
            "another installation use a virtual host for each.",
        )
    if ours:
        return Finding("listeners", "ok", f"{max(ours.values())} processes of the role trade, nobody else")
    return await _others(broker)


async def _others(broker: RabbitBroker) -> Finding:
    """Say who consumes where no process of ours should."""
    state = await broker.look_at(TRADE_QUEUE)
    consumers = state.consumers if state else 0
    return Finding("listeners", "ok", f"{consumers} consumers of {TRADE_QUEUE}, none of the role trade")


async def _publishing(broker: RabbitBroker) -> Finding:
    """Publish what no queue takes, twice: RabbitMQ says that it takes nothing after the first."""
    key = "paybell.doctor"
    probe = Message(PAY_EVENTS.name, key, b"", key, "text/plain", key, _EPOCH, must_route=False)
    confirms = [*await broker.publish([probe], _CONFIRM_SECONDS)]
    confirms += await broker.publish([probe], _CONFIRM_SECONDS)
    if set(confirms) == {Confirm.CONFIRMED}:
        return Finding("broker", "ok", "answers, and takes messages")
    denied = next((one for one in confirms if isinstance(one, Denied)), None)
    if denied is not None:
        return Finding(
            "broker",
            "error",
            f"RabbitMQ does not let us publish to {PAY_EVENTS.name}: {denied.code} {denied.text}",
            "Give the user of PAYBELL_BROKER_URL the right to write (rabbitmqctl set_permissions, "
            "set_topic_permissions); events wait meanwhile.",
        )
    return Finding(
        "broker",
        "error",
        "RabbitMQ takes no messages: an alarm for memory or disk",
        "See rabbitmq-diagnostics alarms; events wait in the outbox meanwhile.",
    )


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[RabbitBroker]:
    broker = RabbitBroker(settings.broker_url, only_looks=settings.broker_declare == "look")
    try:
        yield broker
    finally:
        await broker.close()
