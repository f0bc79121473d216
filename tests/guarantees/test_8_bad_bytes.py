"""A hundred thousand messages nobody should have sent: each is kept or applied, and the listener goes on."""

import asyncio
import random
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count, islice

import pika
import psutil
import pytest
from amqp import Raw, Stranger, rabbit, stranger
from relaying import listening, trade_listener
from shop import shop
from support import cases, seeded, until

from paybell.ids import ID_MAX
from paybell.messaging.events import topology
from paybell.pay.model import PayOrder
from paybell.storage import Database, Query

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]

MESSAGES, WARM, CHUNK = cases(100_000), 4_000, 2_000
MEBIBYTE = 1 << 20
GROWTH_MOST_BYTES = 64 * MEBIBYTE
FIRST_NUMBER, STEP = 10**9, 7_919
JAVA_LONG = bytes.fromhex(
    "aced00057372000e6a6176612e6c616e672e4c6f6e673b8be490cc8f23df0200014a000576616c7565"
    "787200106a6176612e6c616e672e4e756d62657286ac951d0b94e08b0200007870"
)
_numbers = count(FIRST_NUMBER, STEP)


def number(dice: random.Random) -> bytes:
    """A number in one of the accepted forms, of an order that nobody made."""
    value = next(_numbers)
    return dice.choice([b"%d", b'"%d"', b" %d\n"]) % value if dice.random() < 0.7 else java(value)


def java(value: int) -> bytes:
    """A Java Long."""
    return JAVA_LONG + struct.pack(">q", value)


def truncated(dice: random.Random) -> bytes:
    """A Java stream that ends early."""
    return java(next(_numbers))[: dice.randrange(1, len(JAVA_LONG) + 8)]


def flipped(dice: random.Random) -> bytes:
    """An accepted form with some bits the other way round."""
    body = bytearray(number(dice))
    for _ in range(dice.randint(1, 3)):
        body[dice.randrange(len(body))] ^= 1 << dice.randrange(8)
    return bytes(body)


def huge(dice: random.Random) -> bytes:
    """A number too large, with a sign, a fraction or an exponent."""
    digits = str(dice.randrange(ID_MAX + 1, 10 ** dice.choice([20, 40, 4_000])))
    return dice.choice(["{}", "-{}", "{}.0", "{}e308", "0x{}", '"{}"']).format(digits).encode()


def encoded(dice: random.Random) -> bytes:
    """Digits, but not in ASCII."""
    text = str(next(_numbers))
    wide = "".join(chr(0xFF10 + int(digit)) for digit in text)
    return dice.choice(
        [text.encode("utf-16"), text.encode("utf-32"), wide.encode(), b"\xef\xbb\xbf" + text.encode()]
    )


def nested(dice: random.Random) -> bytes:
    """JSON in JSON in JSON."""
    levels = dice.choice([1, 5, 500, 20_000])
    opening, closing = dice.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return opening * levels + b"%d" % next(_numbers) + closing * levels


def noise(dice: random.Random) -> bytes:
    """Anything."""
    return dice.randbytes(dice.choice([0, 1, 2, 8, 82, 500]))


def large(dice: random.Random) -> bytes:
    """A mebibyte."""
    return dice.choice([b"7", b"[", b"\0", b"\xff"]) * MEBIBYTE


BODIES: dict[Callable[[random.Random], bytes], float] = {
    number: 8,
    truncated: 15,
    flipped: 25,
    huge: 15,
    encoded: 15,
    nested: 6,
    noise: 16,
    large: 0.03,
}


def text(dice: random.Random) -> str:
    """A short string as AMQP allows it."""
    return "".join(chr(dice.choice([0, 10, 65, 0x7F, 0x4E2D, 0x1F514])) for _ in range(dice.randint(0, 20)))


def field(dice: random.Random, depth: int = 0) -> bytes:
    """A value of a header table, of any type there is, with any bytes in it."""
    fixed = {b"t": 1, b"b": 1, b"s": 2, b"I": 4, b"l": 8, b"D": 5, b"T": 8, b"V": 0}
    kind = dice.choice([*fixed, b"d", b"S", b"x", *([b"F", b"A"] if depth < 5 else [])])
    if kind == b"d":  # RabbitMQ itself closes the connection on what is not a number
        return kind + struct.pack(">d", dice.uniform(-1e300, 1e300))
    if kind in fixed:
        return kind + dice.randbytes(fixed[kind])
    if kind == b"F":
        content = table(dice, depth + 1)
    elif kind == b"A":
        content = b"".join(field(dice, depth + 1) for _ in range(dice.randint(0, 3)))
    else:
        content = dice.randbytes(dice.choice([0, 3, 300]))
    return kind + struct.pack(">I", len(content)) + content


def table(dice: random.Random, depth: int = 0) -> bytes:
    """A header table with names of any bytes."""
    names = [b"n" + dice.randbytes(dice.randint(0, 20)) for _ in range(dice.randint(0, 4))]
    return b"".join(bytes([len(name)]) + name + field(dice, depth) for name in names)


def properties(dice: random.Random, place: int) -> pika.BasicProperties:
    """What stands beside a body; the id tells two that are alike apart."""
    kind = dice.random()
    if kind < 0.3:
        return Raw(table(dice), b"%d" % place)
    return pika.BasicProperties(
        content_type=text(dice) if kind < 0.6 else "application/x-java-serialized-object",
        content_encoding=text(dice) if kind < 0.5 else None,
        message_id=f"{place} {text(dice)}",
        correlation_id=text(dice),
        type=text(dice),
        priority=dice.choice([None, 0, 255]),
        headers={
            text(dice): dice.choice(
                [None, True, -1, 2**63 - 1, text(dice), [1, [2]], {"a": {"b": text(dice)}}]
            )
        },
    )


def messages(dice: random.Random) -> Iterator[tuple[bytes, pika.BasicProperties]]:
    """Make all of them."""
    kinds = dice.choices(list(BODIES), list(BODIES.values()), k=MESSAGES)
    for place, kind in enumerate(kinds):
        yield kind(dice), properties(dice, place)


_KEPT = Query("SELECT coalesce(sum(received), 0)::int AS kept FROM failed_deliveries")
_STATES = Query("SELECT DISTINCT state, reason FROM failed_deliveries ORDER BY reason")


async def test_whatever_bytes_come_each_message_is_kept_and_the_next_one_is_heard(
    pay_database: Database, trade_database: Database, rabbitmq_url: str
) -> None:
    """In flat memory; and an order that was paid is marked paid behind all of it."""
    dice, process = seeded(), psutil.Process()
    async with rabbit(rabbitmq_url) as broker, shop(pay_database, trade_database) as world:
        await world.pay.fund("7", 1_000)
        paid = await world.order(5001, "7", 100)
        assert paid.pay_order_id
        assert isinstance(await world.pay.attempt(paid.pay_order_id, "7"), PayOrder)
        with stranger(rabbitmq_url) as outside:
            outside.forget(topology())  # with what other tests left in it
        await broker.declare(topology())

        async def kept_are(wanted: int) -> bool:
            (row,) = await trade_database.fetch(_KEPT)
            return bool(row["kept"] == wanted)

        async with listening(trade_listener(world, broker)):
            with stranger(rabbitmq_url) as outside:
                sent, warm = messages(dice), 0
                for wanted in range(CHUNK, MESSAGES + 1, CHUNK):
                    await asyncio.to_thread(publish, outside, islice(sent, CHUNK))
                    await until(partial(kept_are, wanted), seconds=60)
                    warm = process.memory_info().rss if wanted == WARM else warm
                outside.publish("pay.direct", "pay.success", b"5001")

            async def marked() -> bool:
                return await world.statuses() == {5001: "PAID"}

            await until(marked, seconds=60)
        grown = process.memory_info().rss - warm

        states = {(row["state"], row["reason"]) for row in await trade_database.fetch(_STATES)}
        assert states == {("dead", "unreadable"), ("dead", "not_paid")}
        assert grown < GROWTH_MOST_BYTES, f"{grown / MEBIBYTE:.0f} MiB"


def publish(outside: Stranger, sent: Iterable[tuple[bytes, pika.BasicProperties]]) -> None:
    """Publish all of them as fast as the broker takes them."""
    for body, beside in sent:
        outside.publish("pay.direct", "pay.success", body, beside)
    outside.connection.process_data_events()
