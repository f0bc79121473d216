"""What operators need of a process: the console's routes, samples, and the comparison of both sides."""

from collections.abc import Sequence

from paybell.messaging.failures import FailureStore
from paybell.operations.audit import AuditTrail
from paybell.operations.book_routes import book_routes
from paybell.operations.desk import OperatorDesk
from paybell.operations.monitor import PERIOD_SECONDS, Monitor
from paybell.operations.payment_parts import payment_routers
from paybell.operations.problems import PROBLEMS
from paybell.operations.routes import ops_routes
from paybell.operations.sampling import Sampler
from paybell.parts import Host, Parts
from paybell.reconciliation.acknowledgements import Acknowledgements
from paybell.reconciliation.pay_books import TURN_DUE, PayBooks, found_last
from paybell.reconciliation.periodic import RECONCILE, PeriodicReconciler
from paybell.reconciliation.reconciler import Reconciler
from paybell.reconciliation.settings import ReconciliationSettings
from paybell.reconciliation.trade_books import TradeBooks
from paybell.telemetry.metrics import Measured
from paybell.worker import Loop


async def operations_parts(host: Host) -> Parts:
    """Return them for the roles of this process."""
    parts = Parts(problems=PROBLEMS)
    if "ops" not in host.roles:
        return parts
    settings = host.settings_of(ReconciliationSettings)
    pay, trade = await host.database("pay"), await host.database("trade")
    pay_books = PayBooks(pay, await host.outbox(), settings.merchant_id)
    trade_books = TradeBooks(trade)
    watching = await host.watching("pay")
    # Another process's local broker cannot be seen from here.
    elsewhere = settings.broker_url.startswith("local:") and "trade" not in host.roles
    sampler = Sampler(
        pay,
        trade,
        None if elsewhere else host.broker,
        host.clock,
        settings.merchant_id,
    )
    desk = OperatorDesk(
        Monitor(sampler.take),
        FailureStore(trade),
        Reconciler(pay_books, trade_books, Acknowledgements(pay, settings.merchant_id), host.clock),
        AuditTrail({"pay": pay, "trade": trade}),
    )
    parts.services.append(desk)
    parts.routers.append(ops_routes(desk, host.streams, settings.merchant_id))
    parts.routers += await payment_routers(host, pay_books, trade_books)
    parts.routers.append(book_routes(desk.reconciler, host.streams, host.clock, settings.merchant_id))
    parts.loops.append(Loop("monitor", desk.monitor.look, idle_seconds=PERIOD_SECONDS))

    async def measure() -> Sequence[Measured]:
        found = await found_last(watching, RECONCILE)
        return [] if found is None else [Measured("reconcile_differences", found)]

    parts.measures.append(measure)
    if settings.reconcile_seconds:
        reconciler = PeriodicReconciler(
            desk.reconciler,
            pay_books,
            host.clock,
            period_seconds=settings.reconcile_seconds,
            window_seconds=settings.reconcile_window_seconds,
        )
        due = await host.due("pay")
        parts.loops.append(due.loop("reconciler", reconciler.run_once, TURN_DUE, RECONCILE))
    return parts
