"""The composition root: settings in, working parts out. Nothing is built on import."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from paybell.channels.parts import channels_parts
from paybell.clock import SystemClock
from paybell.errors import Misconfigured
from paybell.operations.parts import operations_parts
from paybell.parts import Host, Parts
from paybell.pay.parts import pay_parts
from paybell.settings import ROLES, Settings
from paybell.telemetry.metrics import Metrics
from paybell.telemetry.observers import Observers
from paybell.telemetry.traces import Traces, is_wanted
from paybell.trade.parts import trade_parts
from paybell.wallet.parts import wallet_parts

# Each context, asked for what it adds to a process of certain roles.
CONTEXTS = (pay_parts, channels_parts, wallet_parts, trade_parts, operations_parts)


@dataclass(frozen=True, slots=True)
class Runtime:
    """One process: what its contexts share, and what they add up to."""

    host: Host
    parts: Parts
    traces: Traces | None


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
        DatabaseUnavailable: not reached within a bounded wait; a broker is waited for without end.
        Misconfigured: something answers and refuses.
    """
    if settings.broker_url.startswith("local:") and ("background" in roles) != ("trade" in roles):
        raise Misconfigured(
            "The local broker needs background and trade in one process; set PAYBELL_BROKER_URL."
        )
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        traces = Traces() if is_wanted() else None
        if traces is not None:
            stack.callback(traces.close)
        observer = Observers([traces, metrics]) if traces else metrics
        host = Host(
            settings,
            roles=roles,
            urls=databases,
            clock=SystemClock(),
            observer=observer,
            metrics=metrics,
            stack=stack,
        )
        parts = Parts()
        for context in CONTEXTS:
            parts.add(await context(host))
        parts.checks = host.checks | parts.checks
        parts.measures += host.measures
        parts.loops += host.loops
        parts.tasks += host.tasks
        yield Runtime(host, parts, traces)
