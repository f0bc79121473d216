"""What pay adds to a process: pay orders and refunds over HTTP; the relay, deadlines and retention behind."""

from paybell.parts import Host, Parts
from paybell.pay.batch_routes import batch_routes
from paybell.pay.lane_routes import PayLane
from paybell.pay.list_routes import list_routes
from paybell.pay.overdue import OverdueCloser
from paybell.pay.paying_routes import paying_routes
from paybell.pay.problems import PROBLEMS
from paybell.pay.refund_routes import refund_routes
from paybell.pay.refunds import RefundService
from paybell.pay.relay_parts import add_own_publisher, add_relay
from paybell.pay.routes import pay_order_routes
from paybell.pay.service import PayService
from paybell.pay.settings import PaySettings
from paybell.pay.settle_times import SettleTimes
from paybell.pay.store import DEADLINES_DUE
from paybell.pay.tables import retention_rules
from paybell.storage.retention import CLEAN_IDLE_SECONDS, Cleaner
from paybell.wallet.pay_password import Pepper
from paybell.worker import Loop, Task


async def pay_parts(host: Host) -> Parts:
    """Return them for the roles of this process."""
    parts = Parts(problems=PROBLEMS)
    if "api" in host.roles:
        await _add_api(host, parts)
    if "background" in host.roles:
        await _add_background(host, parts)
    return parts


async def _add_api(host: Host, parts: Parts) -> None:
    settings = host.settings_of(PaySettings)
    database, outbox = await host.database("pay"), await host.outbox()
    ids = await host.ids("pay")
    pay = PayService(
        database,
        outbox,
        Pepper(settings.pin_pepper),
        ids,
        host.observer,
        batch_max=settings.settle_batch_max,
        releasing=host.releasing,
    )
    refunds = RefundService(database, outbox, ids)
    parts.services += [pay, refunds]
    parts.routers += [
        pay_order_routes(pay, settings.order_ttl_seconds),
        batch_routes(pay, settings.order_ttl_seconds),
        refund_routes(refunds),
        *list_routes(pay, database, host.clock),
    ]
    if not settings.wallet_url:
        parts.routers.append(paying_routes(pay))
        parts.shortcuts.append(lambda app: PayLane(app, pay, host.tokens))
    if "background" not in host.roles and not settings.broker_url.startswith("local:"):
        add_own_publisher(host, parts, database, outbox)
    parts.tasks.append(Task("settle-times", SettleTimes(database, host.metrics.settle_time).run))


async def _add_background(host: Host, parts: Parts) -> None:
    settings = host.settings_of(PaySettings)
    database, outbox = await host.database("pay"), await host.outbox()
    await add_relay(host, parts, database, outbox)
    closer, due = OverdueCloser(database, outbox), await host.due("pay")
    rules = retention_rules(idempotency_days=settings.idempotency_days, inbox_days=settings.inbox_days)
    parts.loops += [
        due.loop("overdue-closer", closer.run_once, DEADLINES_DUE),
        Loop("pay-cleaner", Cleaner(database, rules).run_once, idle_seconds=CLEAN_IDLE_SECONDS),
    ]
    parts.checks["broker"] = host.check_broker
