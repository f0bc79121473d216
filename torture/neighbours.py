"""Faults that others bring: queues, rights and readers that are not ours, and an event that kills."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

import pika

from paybell.clock import SystemClock
from paybell.messaging.events import PAY_EVENTS
from paybell.messaging.failures import Chosen, FailureStore
from paybell.storage import Database, Query
from torture.stack import Stack

CLOSE_CONNECTIONS = (
    'length([rabbit_networking:close_connection(C, "torture") || C <- rabbit_networking:connections()])'
)
_STRANGER = "stranger"
_STRANGER_ROOM = 5
_POLL_SECONDS = 0.2
# A process that dies of an event is started again some eight times before the event is set aside.
_DEATHS_SECONDS = 90.0


async def full_queue(stack: Stack, dice: random.Random) -> str:
    """Bind somebody's queue that is full at once, refuses what comes, and is read by nobody."""
    seconds = dice.uniform(1.0, 4.0)
    await asyncio.to_thread(_on_channel, stack.rabbit.url, _bind_stranger)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(_on_channel, stack.rabbit.url, lambda channel: channel.queue_delete(_STRANGER))
    return f"for {seconds:.1f} s"


def _bind_stranger(channel: "pika.adapters.blocking_connection.BlockingChannel") -> None:
    arguments = {"x-max-length": _STRANGER_ROOM, "x-overflow": "reject-publish"}
    channel.queue_declare(_STRANGER, arguments=arguments)
    channel.queue_bind(_STRANGER, PAY_EVENTS.name, "#")


def _on_channel(
    url: str, do: "Callable[[pika.adapters.blocking_connection.BlockingChannel], object]"
) -> None:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        do(connection.channel())


async def forbidden_topic(stack: Stack, dice: random.Random) -> str:
    """Take the right to publish to the topic exchange away, and give it back.

    Channels remember what they may do, so connections are closed with it.
    """
    seconds = dice.uniform(1.0, 4.0)
    whose = f'<<"guest">>, <<"/">>, <<"{PAY_EVENTS.name}">>'
    forbid = f'rabbit_auth_backend_internal:set_topic_permissions({whose}, <<"^$">>, <<".*">>, <<"torture">>)'
    await stack.erlang(f"{forbid}, {CLOSE_CONNECTIONS}")
    try:
        await asyncio.sleep(seconds)
    finally:
        await stack.erlang(f'rabbit_auth_backend_internal:clear_topic_permissions({whose}, <<"torture">>)')
    return f"for {seconds:.1f} s"


async def long_snapshot(stack: Stack, dice: random.Random) -> str:
    """Read pay's database in one old snapshot, as a dump does."""
    seconds = dice.uniform(3.0, 10.0)
    clock = SystemClock()
    async with (
        Database.open(stack.postgres.urls["paybell_pay"], clock, connections=1) as database,
        database.snapshot() as tx,
    ):
        until = clock.monotonic() + seconds
        while clock.monotonic() < until:
            await tx.fetch(Query("SELECT count(*) FROM outbox"))
            await asyncio.sleep(_POLL_SECONDS)
    return f"for {seconds:.1f} s"


async def deadly_event(stack: Stack, _: random.Random) -> str:
    """Have the next event end each process that handles it, until it is set aside; then replay it."""
    clock, chosen = SystemClock(), Chosen(reason="listener_died")
    deaths = stack.killed
    stack.deadly.with_suffix(".event").unlink(missing_ok=True)
    stack.deadly.touch()
    try:
        async with Database.open(stack.postgres.urls["paybell_trade"], clock, connections=1) as database:
            failures = FailureStore(database)
            with suppress(TimeoutError):
                async with asyncio.timeout(_DEATHS_SECONDS):
                    while not await failures.list(chosen) or not stack.whole:  # noqa: ASYNC110 - others write the row
                        await asyncio.sleep(_POLL_SECONDS)
            stack.deadly.unlink()
            await failures.replay(chosen, "torture")
    finally:
        stack.deadly.unlink(missing_ok=True)
    return f"{stack.killed - deaths} deaths"
