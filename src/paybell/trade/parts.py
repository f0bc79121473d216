"""What the order service adds to a process: orders over HTTP; its listeners, checks and refunds behind."""

import structlog

from paybell.messaging.events import topology, trade_topology
from paybell.messaging.tables import listener_rules
from paybell.parts import Host, Parts
from paybell.storage.retention import CLEAN_IDLE_SECONDS, Cleaner
from paybell.trade.errors import PayServiceUnavailable
from paybell.trade.list_routes import list_routes
from paybell.trade.listener_parts import add_listeners
from paybell.trade.order_checker import OrderChecker
from paybell.trade.pay_client import PayClient
from paybell.trade.problems import PROBLEMS
from paybell.trade.refund_sender import RefundSender
from paybell.trade.routes import order_routes
from paybell.trade.service import TradeService
from paybell.trade.settings import TradeSettings
from paybell.trade.store import CHECKS_DUE, REFUNDS_DUE
from paybell.trade.watch import POLL_SECONDS, OrderWatch
from paybell.worker import Loop

log = structlog.get_logger()


async def trade_parts(host: Host) -> Parts:
    """Return them for the roles of this process."""
    parts = Parts(problems=PROBLEMS)
    if "trade" not in host.roles:
        return parts
    settings = host.settings_of(TradeSettings)
    for wanted in (topology(settings.queue_type), trade_topology(settings.queue_type)):
        await host.declare(wanted)
    database = await host.database("trade")
    pay = await host.open(PayClient.open(_pay_url(settings), host.tokens, host.clock))
    if "api" not in host.roles:
        await _check(pay)
    watch = OrderWatch(database, host.clock)
    service = TradeService(database, pay, await host.ids("trade"), host.clock)
    parts.services.append(service)
    parts.routers.append(order_routes(service, watch, host.streams, host.clock, settings.merchant_id))
    parts.routers.append(list_routes(service, database, host.clock, settings.merchant_id))
    await add_listeners(host, parts, pay, watch)
    rules = listener_rules(inbox_days=settings.inbox_days, dead_letter_days=settings.dead_letter_days)
    due = await host.due("trade")
    parts.loops += [
        due.loop("order-checker", OrderChecker(database, pay).run_once, CHECKS_DUE),
        due.loop("refund-sender", RefundSender(database, pay).run_once, REFUNDS_DUE),
        Loop("trade-cleaner", Cleaner(database, rules).run_once, idle_seconds=CLEAN_IDLE_SECONDS),
        Loop("order-watch", watch.look, watch.wake, idle_seconds=POLL_SECONDS),
    ]
    return parts


async def _check(pay: PayClient) -> None:
    """Refuse to start with a URL or a secret that can never work; a pay service that is away may come."""
    try:
        await pay.check()
    except PayServiceUnavailable:
        log.warning("pay_service_away", detail="It does not answer yet; orders wait for it.")


def _pay_url(settings: TradeSettings) -> str:
    """Return where the pay service is: in this process unless another one is named."""
    if settings.pay_url:
        return settings.pay_url
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
