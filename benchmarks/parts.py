"""Paybell's parts, each alone in a process of its own: ``settle``, ``relay``, ``listen``."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.child import Meter, ready, serve
from benchmarks.stock import PEPPER, requests
from paybell.clock import SystemClock
from paybell.messaging.events import topology
from paybell.messaging.listener_runner import ListenerRunner
from paybell.messaging.rabbitmq.broker import RabbitBroker
from paybell.messaging.signatures import EventKeys
from paybell.pay.service import PayService
from paybell.pay.settlement import PaymentRequest
from paybell.runtime import open_runtime
from paybell.settings import Settings
from paybell.storage import Database
from paybell.telemetry.observers import Observer
from paybell.tokens import Tokens
from paybell.trade.pay_client import PayClient
from paybell.trade.payment_listener import PaymentProof, payment_listener
from paybell.wallet.ledger import BalancePoster
from paybell.worker import Loop, run_loop

JWT_SECRET = "benchmarks-only-secret-0123456789abcdef"  # noqa: S105 - of servers that live for a minute
_FOLD_SECONDS = 0.2  # as the runtime folds


def settings(broker_url: str = "local:") -> Settings:
    """Return Paybell's defaults, with secrets; nothing is tuned for the benchmark."""
    return Settings(
        home=Path("/nonexistent"), broker_url=broker_url, jwt_secret=JWT_SECRET, pin_pepper=PEPPER
    )


async def settle(spec: dict[str, Any]) -> dict[str, object]:
    """Settle ``count`` orders from ``first`` on in full batches; postings go to balances meanwhile."""
    ours = settings()
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(
            open_runtime(ours, {"pay": spec["pay"]}, frozenset({"api"}))
        )
        database = await stack.enter_async_context(
            Database.open(spec["pay"], runtime.host.clock, connections=2)
        )
        posting = Loop("posting", BalancePoster(database).run_once, idle_seconds=_FOLD_SECONDS)
        pay = runtime.parts.service(PayService)
        wanted, size = requests(spec["first"], spec["count"]), ours.settle_batch_max
        batches = iter([wanted[start : start + size] for start in range(0, len(wanted), size)])
        await ready()
        meter, stop = Meter(), asyncio.Event()
        running = asyncio.create_task(run_loop(posting, stop, runtime.host.clock))
        lanes = (_settle_lane(batches, pay.settle_batch) for _ in range(spec["lanes"]))
        refused = sum(await asyncio.gather(*lanes))
        report = meter.report(refused=refused)
        stop.set()
        await running
    return report


async def _settle_lane(
    batches: Any, settle_batch: Callable[[Sequence[PaymentRequest]], Awaitable[Sequence[object]]]
) -> int:
    refused = 0
    for batch in batches:
        refused += sum(isinstance(outcome, Exception) for outcome in await settle_batch(batch))
    return refused


async def relay(spec: dict[str, Any]) -> dict[str, object]:
    """Publish the outbox in as many lanes as the service has, until ``count`` events are told."""
    ours = settings(spec["broker"])
    async with open_runtime(ours, {"pay": spec["pay"]}, frozenset({"background"})) as runtime:
        lanes = [loop.step for loop in runtime.parts.loops if loop.name.startswith("relay")]
        left = spec["count"]

        async def lane(step: Callable[[], Awaitable[int]]) -> int:
            nonlocal left
            told = 0
            while left > 0 and (found := await step()):
                left -= found
                told += found
            return told

        await ready()
        meter = Meter()
        told = sum(await asyncio.gather(*(lane(step) for step in lanes)))
        return meter.report(events=told)


class _Counting(Observer):
    """Counts what is applied and stops the listener at a number."""

    def __init__(self, wanted: int, stop: asyncio.Event) -> None:
        self.left = wanted
        self.ended = 0.0
        self._stop = stop

    def applied(self, events: int, duplicates: int) -> None:
        del duplicates
        self.left -= events
        if self.left <= 0 and not self.ended:
            self.ended = time.monotonic()
            self._stop.set()


async def listen(spec: dict[str, Any]) -> dict[str, object]:
    """Mark orders paid until ``count`` have been; the messages are signed, so nobody is asked."""
    ours, clock, stop = settings(spec["broker"]), SystemClock(), asyncio.Event()
    counting = _Counting(spec["count"], stop)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database.open(spec["trade"], clock, connections=8))
        pay = await stack.enter_async_context(
            PayClient.open("http://127.0.0.1:9", Tokens.from_settings(ours, clock), clock)
        )
        broker = RabbitBroker(ours.broker_url)
        stack.push_async_callback(broker.close)
        (binding,) = topology(ours.queue_type).bindings
        proof = PaymentProof(database, ours.merchant_id, EventKeys(token_secret=ours.jwt_secret), pay)
        runner = ListenerRunner(
            payment_listener(binding, proof),
            broker,
            database,
            clock,
            counting,
            batch_max=ours.listener_batch_max,
        )
        await broker.declare(topology(ours.queue_type))
        await ready()
        meter = Meter()
        await runner.run(stop)
        return meter.report(ended=counting.ended)


if __name__ == "__main__":
    uvloop.run(serve({"settle": settle, "relay": relay, "listen": listen}[sys.argv[1]]))
