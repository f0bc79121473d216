"""The faults: each breaks something, waits, and mends what does not mend itself."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from paybell.messaging.events import PAY_DIRECT, PAY_SUCCESS
from torture.channels import disorder_notices, freeze_channels, kill_channels, strike
from torture.neighbours import (
    CLOSE_CONNECTIONS,
    deadly_event,
    forbidden_topic,
    full_queue,
    long_snapshot,
)
from torture.proxy import Line
from torture.stack import LEASE_SECONDS, Part, Stack

# What a fault touches: two that touch different things may happen together.
Place = Literal["process", "database", "broker", "clients", "channels"]
Act = Callable[[Stack, random.Random], Awaitable[str]]

# Bytes of a request whose answer can be lost: the end of a transaction; Basic.Publish (AMQP 0-9-1
# class 60, method 40).
_COMMIT, _PUBLISH = b"COMMIT;", b"\x00\x3c\x00\x28"
_SKEW_MOST_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault.

    ``weight``: how often it is dealt before all kinds were; ``classic``: it reaches into the process
    that a classic queue has, and a quorum queue has not.
    """

    kind: str
    place: Place
    act: Act
    weight: int = 1
    classic: bool = False


def _part(stack: Stack, dice: random.Random, *roles: str) -> Part:
    return dice.choice([part for part in stack.parts.values() if not roles or part.role in roles])


# Processes ---------------------------------------------------------------------------------------


def _kill(role: str) -> Act:
    async def act(stack: Stack, dice: random.Random) -> str:
        part = _part(stack, dice, role)
        part.kill()
        await asyncio.sleep(dice.choice([0.0, 0.5, 1.0]))
        part.start()
        return part.name

    return act


def _freeze(role: str) -> Act:
    async def act(stack: Stack, dice: random.Random) -> str:
        """Past its lease, so that what it holds is another one's when it wakes up."""
        part = _part(stack, dice, role)
        part.freeze()
        seconds = LEASE_SECONDS + dice.uniform(0.5, 1.5) if role == "relay" else dice.uniform(0.5, 3.0)
        await asyncio.sleep(seconds)
        part.thaw()
        return f"{part.name} for {seconds:.1f} s"

    return act


async def _deploy(stack: Stack, dice: random.Random) -> str:
    part = _part(stack, dice)
    await part.stop()
    part.start()
    return part.name


async def _skew(stack: Stack, dice: random.Random) -> str:
    part = _part(stack, dice)
    seconds = dice.uniform(-_SKEW_MOST_SECONDS, _SKEW_MOST_SECONDS)
    part.kill()
    part.start(seconds)
    return f"{part.name} by {seconds:+.1f} s"


# The database ------------------------------------------------------------------------------------


async def _crash_postgres(stack: Stack, dice: random.Random) -> str:
    await asyncio.to_thread(stack.postgres.crash)
    await asyncio.sleep(dice.uniform(0.0, 1.0))
    await asyncio.to_thread(stack.postgres.start)
    return ""


async def _freeze_postgres(stack: Stack, dice: random.Random) -> str:
    seconds = dice.uniform(0.5, 3.0)
    stack.postgres.freeze()
    await asyncio.sleep(seconds)
    stack.postgres.thaw()
    return f"for {seconds:.1f} s"


# The broker --------------------------------------------------------------------------------------


async def _crash_rabbitmq(stack: Stack, dice: random.Random) -> str:
    stack.rabbit.kill()
    await asyncio.sleep(dice.uniform(0.0, 1.0))
    await asyncio.to_thread(stack.rabbit.restart)
    return ""


async def _freeze_rabbitmq(stack: Stack, dice: random.Random) -> str:
    seconds = dice.uniform(0.5, 3.0)
    stack.rabbit.suspend()
    await asyncio.sleep(seconds)
    stack.rabbit.resume()
    return f"for {seconds:.1f} s"


def _alarm(raise_it: str, end_it: str) -> Act:
    async def act(stack: Stack, dice: random.Random) -> str:
        seconds = dice.uniform(0.5, 3.0)
        await stack.erlang(raise_it)
        await asyncio.sleep(seconds)
        await stack.erlang(end_it)
        return f"for {seconds:.1f} s"

    return act


_MEMORY_ALARM = _alarm(
    "vm_memory_monitor:set_vm_memory_high_watermark(0.0000001)",
    "vm_memory_monitor:set_vm_memory_high_watermark(0.4)",
)
_DISK_ALARM = _alarm(
    "rabbit_disk_monitor:set_disk_free_limit({mem_relative, 99999.0})",
    "rabbit_disk_monitor:set_disk_free_limit(50000000)",
)


async def _unbind(stack: Stack, _: random.Random) -> str:
    binding = (
        f'rabbit_binding:remove({{binding, rabbit_misc:r(<<"/">>, exchange, <<"{PAY_DIRECT.name}">>), '
        f'<<"{PAY_SUCCESS}">>, amqqueue:get_name(Q), []}}, <<"torture">>)'
    )
    return await stack.on_queue(binding)


async def _delete_queue(stack: Stack, dice: random.Random) -> str:
    """Delete it with what is in it, delivered or not: gone for good at the broker, and reconciled."""
    listeners = [part.lines["broker"] for part in stack.parts.values() if part.role == "trade"]
    for line in listeners:
        line.hold()
    try:
        await asyncio.sleep(dice.uniform(0.0, 1.0))
        delete = (
            "[{messages, N}] = rabbit_amqqueue:info(Q, [messages]), "
            'rabbit_amqqueue:delete(Q, false, false, <<"torture">>), N'
        )
        destroyed = int(await stack.on_queue(delete))
        stack.destroyed += destroyed
        return f"with {destroyed} messages"
    finally:
        for line in listeners:
            line.heal()


async def _kill_queue(stack: Stack, _: random.Random) -> str:
    """Crash its process: RabbitMQ cancels the consumers, refuses what is unconfirmed, and restarts it."""
    return await stack.on_queue("exit(amqqueue:get_pid(Q), kill)")


async def _drop_consumers(stack: Stack, _: random.Random) -> str:
    """Take the consumers off the queue without a word to them."""
    drop = (
        "length([gen_server2:call(amqqueue:get_pid(Q), {basic_cancel, element(1, C), element(2, C), "
        'undefined, <<"torture">>}) || C <- rabbit_amqqueue:consumers(Q)])'
    )
    return await stack.on_queue(drop)


async def _close_channels(stack: Stack, _: random.Random) -> str:
    """Close the consumers' channels, as RabbitMQ does when an acknowledgement takes too long."""
    close = (
        'length([exit(element(1, C), {amqp_error, precondition_failed, "torture", none}) '
        "|| C <- rabbit_amqqueue:consumers(Q)])"
    )
    return await stack.on_queue(close)


async def _close_connections(stack: Stack, _: random.Random) -> str:
    return await stack.erlang(CLOSE_CONNECTIONS)


# Lines -------------------------------------------------------------------------------------------


def _some(lines: list[Line], dice: random.Random) -> list[Line]:
    """One of them, or all."""
    return [dice.choice(lines)] if dice.random() < 0.5 else lines  # noqa: PLR2004 - half the time


def _lines(stack: Stack, place: Place) -> list[Line]:
    return [stack.pay, stack.trade] if place == "clients" else stack.of(place)


def _cut(place: Place) -> Act:
    async def act(stack: Stack, dice: random.Random) -> str:
        return f"{sum(line.cut() for line in _some(_lines(stack, place), dice))} connections"

    return act


def _half_open(place: Place) -> Act:
    async def act(stack: Stack, dice: random.Random) -> str:
        return f"{sum(line.half_open() for line in _some(_lines(stack, place), dice))} connections"

    return act


def _slow(place: Place) -> Act:
    async def act(stack: Stack, dice: random.Random) -> str:
        lines, seconds = _some(_lines(stack, place), dice), dice.uniform(0.5, 2.0)
        delay, rate = dice.choice([(0.02, 0), (0.2, 0), (0.0, 2_000), (0.0, 20_000)])
        for line in lines:
            line.delay_seconds, line.bytes_per_second = delay, rate
        await asyncio.sleep(seconds)
        for line in lines:
            line.heal()
        return f"{len(lines)} by {delay} s" if delay else f"{len(lines)} to {rate} bytes/s"

    return act


def _hold(place: Place) -> Act:
    async def act(stack: Stack, dice: random.Random) -> str:
        lines, seconds = _some(_lines(stack, place), dice), dice.uniform(0.2, 2.0)
        for line in lines:
            line.hold()
        await asyncio.sleep(seconds)
        for line in lines:
            line.heal()
        return f"{len(lines)} for {seconds:.1f} s"

    return act


def _lose_answer(place: Place, request: bytes, *roles: str) -> Act:
    async def act(stack: Stack, _: random.Random) -> str:
        lines = [part.lines[place] for part in stack.parts.values() if part.role in roles]
        for line in lines:
            line.lose_answer(request)
        for _wait in range(20):
            await asyncio.sleep(0.05)
            if all(line.lost_it for line in lines):
                break
        lost = sum(line.lost_it for line in lines)
        for line in lines:
            line.heal()
        return f"{lost} answers"

    return act


FAULTS = (
    Fault("kill api", "process", _kill("api")),
    Fault("kill relay", "process", _kill("relay")),
    Fault("kill trade", "process", _kill("trade")),
    Fault("kill ops", "process", _kill("ops")),
    Fault("freeze api", "process", _freeze("api")),
    Fault("freeze relay", "process", _freeze("relay")),
    Fault("freeze trade", "process", _freeze("trade")),
    Fault("deploy", "process", _deploy),
    Fault("skew clock", "process", _skew),
    Fault("crash postgres", "database", _crash_postgres),
    Fault("freeze postgres", "database", _freeze_postgres),
    Fault("crash rabbitmq", "broker", _crash_rabbitmq),
    Fault("freeze rabbitmq", "broker", _freeze_rabbitmq),
    Fault("memory alarm", "broker", _MEMORY_ALARM),
    Fault("disk alarm", "broker", _DISK_ALARM),
    Fault("unbind", "broker", _unbind),
    Fault("delete queue", "broker", _delete_queue, classic=True),
    Fault("crash queue", "broker", _kill_queue, classic=True),
    Fault("drop consumers", "broker", _drop_consumers, classic=True),
    Fault("close channels", "broker", _close_channels),
    Fault("close connections", "broker", _close_connections),
    Fault("cut database", "database", _cut("database"), 2),
    Fault("cut broker", "broker", _cut("broker"), 2),
    Fault("cut clients", "clients", _cut("clients"), 2),
    Fault("lose commit answer", "database", _lose_answer("database", _COMMIT, "api", "relay", "trade"), 2),
    Fault("lose confirm", "broker", _lose_answer("broker", _PUBLISH, "relay"), 2),
    Fault("half-open database", "database", _half_open("database")),
    Fault("half-open broker", "broker", _half_open("broker")),
    Fault("half-open clients", "clients", _half_open("clients")),
    Fault("slow database", "database", _slow("database"), 2),
    Fault("slow broker", "broker", _slow("broker"), 2),
    Fault("hold database", "database", _hold("database")),
    Fault("hold broker", "broker", _hold("broker")),
    Fault("full queue", "broker", full_queue),
    Fault("forbidden topic", "broker", forbidden_topic),
    Fault("long snapshot", "database", long_snapshot),
    Fault("deadly event", "process", deadly_event),
    Fault("kill channels", "channels", kill_channels, 2),
    Fault("freeze channels", "channels", freeze_channels, 2),
    Fault("lose channel requests", "channels", strike("lose_request"), 2),
    Fault("lose channel answers", "channels", strike("lose_answer", "fail_after", "truncated"), 2),
    Fault("disorder notices", "channels", disorder_notices, 2),
)
