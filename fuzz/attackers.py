"""``python -m fuzz.attackers KIND PORT SEED``: hostile clients in a process of their own, until it is killed.

It says *ready* once all of them are at it.
"""

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import cast

import uvloop

SLOW, IDLE, UNREAD, ODD = 500, 500, 10, 20
# Enough that each of them is never quiet for as long as a header may take.
_DRIP_SECONDS = 2.0
_ANSWER_SECONDS = 1.0
_HUGE_BYTES = 100 * 1024 * 1024
_CHUNK = b"a" * 65_536
_PAUSE_SECONDS = 0.2
_ASK = b"GET /healthz HTTP/1.1\r\nHost: paybell\r\n"
_POST = b"POST /pay-orders HTTP/1.1\r\nHost: paybell\r\nContent-Type: application/json\r\n"

ODD_BYTES = (
    _POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    _POST + b"Content-Length: 4\r\nContent-Length: 40\r\n\r\n1234",
    _POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    _POST + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 40_000,
    _POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nA: " + b"b" * 40_000,
    _POST + b'Content-Length: 100000\r\n\r\n{"bizOrderNo',
    _POST + b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n",
    _ASK + b"A: \0\r\n\r\n",
    _ASK + b"A\0: b\r\n\r\n",
    _ASK + b"A: b\r\n" * 5_000 + b"\r\n",
    _ASK + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n" + b"\x81\x05hello" * 50,
    b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"GET /\0 HTTP/1.1\r\n\r\n",
    b"GET /%00%ff%c0%af HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
    b"\r\n" * 50_000,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    (_ASK + b"\r\n") * 2_000,
    (_ASK + b"\r\n") * 20 + b"\0nonsense\r\n\r\n",
    _ASK,
    b"",
)

Attack = Callable[[int, random.Random], Awaitable[None]]


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def slow_headers(port: int, _: random.Random) -> None:
    """Send a header that never ends, one byte after the other."""
    _reader, writer = await _connect(port)
    writer.write(_ASK + b"Slow: ")
    while not writer.is_closing():
        writer.write(b"z")
        await asyncio.sleep(_DRIP_SECONDS)


async def idle(port: int, _: random.Random) -> None:
    """Connect and say nothing."""
    reader, writer = await _connect(port)
    await reader.read()
    writer.close()


async def huge_header(port: int, _: random.Random) -> None:
    """Send a header of 100 MB as fast as it is taken, and every two seconds another."""
    _reader, writer = await _connect(port)
    with suppress(OSError):
        writer.write(_ASK + b"Huge: ")
        for _number in range(_HUGE_BYTES // len(_CHUNK)):
            writer.write(_CHUNK)
            await writer.drain()
    await asyncio.sleep(_DRIP_SECONDS)


async def unread_answers(port: int, _: random.Random) -> None:
    """Ask for 300,000 answers in advance and read none."""
    _reader, writer = await _connect(port)
    cast("asyncio.Transport", writer.transport).pause_reading()
    for _number in range(300):
        writer.write((_ASK + b"\r\n") * 1_000)
        await writer.drain()  # stands still here until it is cut off


async def odd_bytes(port: int, dice: random.Random) -> None:
    """Send something no client sends, cut anywhere; then read, close half, or be gone."""
    reader, writer = await _connect(port)
    sent = dice.choice(ODD_BYTES)
    writer.write(sent[: dice.randrange(len(sent) + 1)] if dice.random() < 0.5 else sent)  # noqa: PLR2004
    await writer.drain()
    match dice.randrange(3):
        case 0:
            writer.transport.abort()
        case 1:
            writer.write_eof()
            await asyncio.wait_for(reader.read(), _ANSWER_SECONDS)
        case _:
            await asyncio.wait_for(reader.read(4096), _ANSWER_SECONDS)
    writer.close()
    await asyncio.sleep(_PAUSE_SECONDS)


KINDS: Mapping[str, tuple[tuple[Attack, int], ...]] = {
    "slow": ((slow_headers, SLOW), (idle, IDLE), (huge_header, 1)),
    "unread": ((unread_answers, UNREAD),),
    "odd": ((odd_bytes, ODD),),
}


async def _again(attack: Attack, port: int, dice: random.Random, started: asyncio.Semaphore) -> None:
    """Do it, and whenever it was cut off, do it again."""
    first = True
    while True:
        if first:
            asyncio.get_running_loop().call_later(_PAUSE_SECONDS, started.release)
            first = False
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, RuntimeError):
            await attack(port, dice)
        await asyncio.sleep(_PAUSE_SECONDS * dice.random())


async def main(kind: str, port: int, seed: int) -> None:
    """Attack until killed."""
    dice, started = random.Random(seed), asyncio.Semaphore(0)  # noqa: S311 - repeatable on purpose
    attacks = [attack for attack, number in KINDS[kind] for _ in range(number)]
    tasks = [asyncio.create_task(_again(attack, port, dice, started)) for attack in attacks]
    for _ in tasks:
        await started.acquire()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
