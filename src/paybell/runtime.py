"""The composition root: settings in, working parts out. Nothing is built on import."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from paybell.clock import Clock, SystemClock
from paybell.errors import BrokerUnavailable, Misconfigured, PaybellError
from paybell.ids import SnowflakeIds
from paybell.messaging.broker import Broker, Topology
from paybell.messaging.events import Signer, topology, trade_topology
from paybell.messaging.failures import FailureStore
from paybell.messaging.listener import Listener
from paybell.messaging.listener_runner import ListenerRunner
from paybell.messaging.local import LocalBroker
from paybell.messaging.outbox import Outbox
from paybell.messaging.rabbitmq.broker import RabbitBroker
from paybell.messaging.relay import Relay, Wire
from paybell.messaging.tables import listener_rules
from paybell.operations.desk import OperatorDesk
from paybell.operations.monitor import PERIOD_SECONDS, Monitor
from paybell.operations.sampling import Sampler
from paybell.operations.timeline import Timelines
from paybell.pay import store as pay_store
from paybell.pay.overdue import OverdueCloser
from paybell.pay.refunds import RefundService
from paybell.pay.service import PayService
from paybell.pay.tables import retention_rules
from paybell.reconciliation.pay_books import PayBooks
from paybell.reconciliation.periodic import PeriodicReconciler
from paybell.reconciliation.reconciler import Reconciler
from paybell.reconciliation.trade_books import TradeBooks
from paybell.settings import ROLES, Settings
from paybell.storage import Database
from paybell.storage.retention import Cleaner
from paybell.telemetry.metrics import Metrics
from paybell.telemetry.observers import Observer, Observers
from paybell.telemetry.traces import Traces, is_wanted
from paybell.tokens import Tokens
from paybell.trade import store as trade_store
from paybell.trade.event_listener import EventProof, pay_order_listener
from paybell.trade.order_checker import OrderChecker
from paybell.trade.pay_client import PayClient
from paybell.trade.payment_listener import PaymentProof, payment_listener
from paybell.trade.refund_sender import RefundSender
from paybell.trade.service import TradeService
from paybell.trade.watch import POLL_SECONDS, OrderWatch
from paybell.wallet.ledger import FOLD_MAX, PostingFolder
from paybell.wallet.pay_password import Pepper
from paybell.wallet.sealing import SEAL_MAX, TransferSealer
from paybell.wallet.service import WalletService
from paybell.wallet.statements import Statements
from paybell.web.event_streams import Streams
from paybell.worker import Loop, Task

# One batch is confirmed by the broker while the other is claimed from the database.
RELAY_LANES = 2
# A payment has no events of its own to wait for: those of some milliseconds share a batch.
_RELAY_REST_SECONDS = 0.005
_FOLD_IDLE_SECONDS = 0.2
# Buyers see an order close; what falls due together is worked off in batches without a pause.
_CLOSER_IDLE_SECONDS = 0.5
# What is old can wait; a piece found is followed by the next at once.
_CLEAN_IDLE_SECONDS = 60.0
# Between looks that find nothing to seal; each block is up to a second's transfers.
_SEAL_IDLE_SECONDS = 1.0
# How often a process asks whether it is its turn at work that one does for all.
_TURN_IDLE_SECONDS = 2.0
# A broker that is started together with us is up within this; longer is a mistake a person must see.
BROKER_WAIT_SECONDS = 8.0
_BROKER_POLL_SECONDS = 0.5

Check = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Runtime:
    """One process's parts, by role; what a role does not have is None or empty."""

    settings: Settings
    clock: Clock
    tokens: Tokens
    metrics: Metrics = field(default_factory=Metrics)
    pay: PayService | None = None
    refunds: RefundService | None = None
    wallets: WalletService | None = None
    statements: Statements | None = None
    trade: TradeService | None = None
    orders: OrderWatch | None = None
    desk: OperatorDesk | None = None
    traces: Traces | None = None
    streams: Streams = field(default_factory=Streams)
    loops: list[Loop] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    checks: dict[str, Check] = field(default_factory=dict)
    refresh: list[Check] = field(default_factory=list)

    @property
    def observer(self) -> Observer:
        """What watches all parts: metrics, and traces around them where they are wanted."""
        return Observers([self.traces, self.metrics]) if self.traces else self.metrics


@asynccontextmanager
async def open_runtime(
    settings: Settings, databases: Mapping[str, str], roles: frozenset[str] = ROLES
) -> AsyncIterator[Runtime]:
    """Connect everything these roles need, and take it down in reverse order.

    Args:
        settings: with secrets.
        databases: URLs of the migrated databases, ``pay`` and ``trade``.
        roles: some of `ROLES`.

    Raises:
        DatabaseUnavailable, BrokerUnavailable: not reached within a bounded wait.
        Misconfigured: something answers and refuses.
    """
    local = settings.broker_url.startswith("local:")
    if local and ("relay" in roles) != ("trade" in roles):
        raise Misconfigured("The local broker needs relay and trade in one process; set PAYBELL_BROKER_URL.")
    clock = SystemClock()
    runtime = Runtime(settings, clock, Tokens.from_settings(settings, clock))
    async with AsyncExitStack() as stack:
        if is_wanted():
            runtime.traces = Traces()
            stack.callback(runtime.traces.close)
        builder = _Builder(runtime, stack, databases)
        if roles & {"api", "relay", "ops"}:
            await builder.add_pay(roles)
        if roles & {"relay", "trade"} or ("ops" in roles and not local):
            builder.broker = LocalBroker() if local else RabbitBroker(settings.broker_url)
            stack.push_async_callback(builder.broker.close)
        if roles & {"relay", "trade"}:
            await _declare(builder.needed_broker, topology(settings.queue_type), clock)
        if "relay" in roles:
            builder.add_relay()
        if "trade" in roles:
            await _declare(builder.needed_broker, trade_topology(settings.queue_type), clock)
            await builder.add_trade()
        if "ops" in roles:
            await builder.add_ops()
        yield runtime


async def _declare(broker: Broker, wanted: Topology, clock: Clock) -> None:
    """Declare the topology at a broker that may just be starting."""
    deadline = clock.monotonic() + BROKER_WAIT_SECONDS
    while True:
        try:
            return await broker.declare(wanted)
        except BrokerUnavailable:
            if clock.monotonic() >= deadline:
                raise
            await clock.sleep(_BROKER_POLL_SECONDS)


class _Builder:
    """Puts the parts together, each role in one method."""

    def __init__(self, runtime: Runtime, stack: AsyncExitStack, databases: Mapping[str, str]) -> None:
        self.runtime = runtime
        self.stack = stack
        self.databases = databases
        self.signer = Signer(runtime.settings.jwt_secret)
        self.broker: LocalBroker | RabbitBroker | None = None
        self.outbox: Outbox
        self.pay_database: Database
        self.runners: list[ListenerRunner[Any]] = []
        self.trade_database: Database | None = None

    @property
    def needed_broker(self) -> LocalBroker | RabbitBroker:
        """The broker of roles that cannot do without."""
        assert self.broker is not None
        return self.broker

    async def _open(self, name: str) -> Database:
        database = await self.stack.enter_async_context(
            Database.open(
                self.databases[name],
                self.runtime.clock,
                connections=self.runtime.settings.database_connections,
            )
        )
        self.runtime.checks[f"{name}Database"] = database.check
        return database

    async def add_pay(self, roles: frozenset[str]) -> None:
        runtime, settings = self.runtime, self.runtime.settings
        self.pay_database = database = await self._open("pay")
        self.outbox = Outbox(database)
        if "api" not in roles:
            return
        pepper = Pepper(settings.pin_pepper)
        ids = SnowflakeIds(runtime.clock, await pay_store.node_number(database))
        runtime.wallets = WalletService(database, pepper)
        runtime.pay = PayService(
            database,
            self.outbox,
            pepper,
            ids,
            runtime.observer,
            batch_max=settings.settle_batch_max,
        )
        runtime.statements = Statements(database)
        runtime.refunds = RefundService(database, self.outbox, ids)

    def add_relay(self) -> None:
        runtime, settings = self.runtime, self.runtime.settings
        relay = Relay(
            self.outbox,
            self.needed_broker,
            topology(settings.queue_type),
            Wire(self.signer, settings.legacy_content_type),
            runtime.observer,
            clock=runtime.clock,
            batch_max=settings.relay_batch_max,
            lease_seconds=settings.relay_lease_seconds,
            deadline_seconds=settings.publish_deadline_seconds,
        )
        wakes = [asyncio.Event() for _ in range(RELAY_LANES)]
        for wake in wakes:
            self.outbox.on_append(wake.set)
        for lane, wake in enumerate(wakes):
            name, full = f"relay-{lane}", settings.relay_batch_max
            runtime.loops.append(
                Loop(name, relay.run_once, wake, full=full, rest_seconds=_RELAY_REST_SECONDS)
            )
        closer = OverdueCloser(self.pay_database, self.outbox)
        runtime.loops.append(Loop("overdue-closer", closer.run_once, idle_seconds=_CLOSER_IDLE_SECONDS))
        folder = PostingFolder(self.pay_database)
        fold_seconds = _FOLD_IDLE_SECONDS
        runtime.loops.append(
            Loop("posting-folder", folder.run_once, None, fold_seconds, FOLD_MAX, fold_seconds)
        )
        rules = retention_rules(idempotency_days=settings.idempotency_days, inbox_days=settings.inbox_days)
        cleaner = Cleaner(self.pay_database, rules)
        runtime.loops.append(Loop("pay-cleaner", cleaner.run_once, idle_seconds=_CLEAN_IDLE_SECONDS))
        sealer = TransferSealer(self.pay_database)
        seal_seconds = _SEAL_IDLE_SECONDS
        runtime.loops.append(
            Loop("transfer-sealer", sealer.run_once, None, seal_seconds, SEAL_MAX, seal_seconds)
        )
        runtime.checks["broker"] = self._check_broker
        runtime.refresh.append(self._refresh_outbox)

    async def add_trade(self) -> None:
        runtime, settings = self.runtime, self.runtime.settings
        self.trade_database = database = await self._open("trade")
        url = settings.pay_url or f"http://{_own_host(settings)}:{settings.port}"
        pay = await self.stack.enter_async_context(PayClient.open(url, runtime.tokens, runtime.clock))
        ids = SnowflakeIds(runtime.clock, await trade_store.node_number(database))
        runtime.trade = TradeService(database, pay, ids)
        runtime.orders = watch = OrderWatch(database, runtime.clock)
        (binding,) = topology(settings.queue_type).bindings
        proof = PaymentProof(database, settings.merchant_id, self.signer, pay)
        self._add_listener("listener", payment_listener(binding, proof, watch.changed), database)
        event_proof = EventProof(settings.merchant_id, self.signer, pay)
        for binding in trade_topology(settings.queue_type).bindings:
            listener = pay_order_listener(binding, event_proof, watch.changed)
            self._add_listener(f"listener-{binding.key}", listener, database)
        runtime.checks["listener"] = self._check_listeners
        checker, sender = OrderChecker(database, pay), RefundSender(database, pay)
        runtime.loops += [Loop("order-checker", checker.run_once), Loop("refund-sender", sender.run_once)]
        rules = listener_rules(inbox_days=settings.inbox_days, dead_letter_days=settings.dead_letter_days)
        cleaner = Cleaner(database, rules)
        runtime.loops.append(Loop("trade-cleaner", cleaner.run_once, idle_seconds=_CLEAN_IDLE_SECONDS))
        runtime.loops.append(Loop("order-watch", watch.look, watch.wake, idle_seconds=POLL_SECONDS))
        failures = FailureStore(database)

        async def refresh_failures() -> None:
            for state, count in (await failures.counts()).items():
                runtime.metrics.failures.labels(state).set(count)

        runtime.refresh.append(refresh_failures)

    async def add_ops(self) -> None:
        runtime, settings = self.runtime, self.runtime.settings
        trade = self.trade_database or await self._open("trade")
        pay_books = PayBooks(self.pay_database, self.outbox, settings.merchant_id)
        trade_books = TradeBooks(trade)
        sampler = Sampler(
            self.pay_database,
            trade,
            self.broker,
            runtime.clock,
            settings.merchant_id,
            settle_time=runtime.metrics.settle_time if runtime.pay else None,
            differences=runtime.metrics.last_differences,
        )
        runtime.desk = OperatorDesk(
            Monitor(sampler.take),
            Timelines(self.pay_database, trade),
            FailureStore(trade),
            Reconciler(pay_books, trade_books, trade, runtime.clock),
        )
        runtime.loops.append(Loop("monitor", runtime.desk.monitor.look, idle_seconds=PERIOD_SECONDS))
        if not settings.reconcile_seconds:
            return
        reconciler = PeriodicReconciler(
            pay_books,
            trade_books,
            runtime.clock,
            period_seconds=settings.reconcile_seconds,
            window_seconds=settings.reconcile_window_seconds,
            found=runtime.metrics.differences.set,
        )
        runtime.loops.append(Loop("reconciler", reconciler.run_once, idle_seconds=_TURN_IDLE_SECONDS))

    def _add_listener(self, name: str, listener: Listener[Any], database: Database) -> None:
        runtime = self.runtime
        runner = ListenerRunner(
            listener,
            self.needed_broker,
            database,
            runtime.clock,
            runtime.observer,
            batch_max=runtime.settings.listener_batch_max,
        )
        runtime.tasks.append(Task(name, runner.run))
        runtime.loops.append(Loop(f"{name}-retries", runner.retry_once))

        self.runners.append(runner)

    async def _check_listeners(self) -> None:
        for runner in self.runners:
            if not runner.consuming:
                raise PaybellError(f"The listener of {runner.queue} is not consuming.")

    async def _check_broker(self) -> None:
        if not self.needed_broker.connected:
            raise PaybellError("The broker is not connected, or it blocks publishers.")

    async def _refresh_outbox(self) -> None:
        pending, oldest_age_seconds = await self.outbox.state()
        self.runtime.metrics.outbox_pending.set(pending)
        self.runtime.metrics.outbox_oldest.set(oldest_age_seconds)


def _own_host(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"[{host}]" if ":" in host else host
