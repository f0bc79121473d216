"""``paybell tell``: a queue that was bound later gets what happened before, and nobody else gets it."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from amqp import stranger, unique
from relaying import pay
from serving import PEPPER_SETTING, SECRET, run
from support import PaySide, connected

from paybell.clock import SystemClock
from paybell.messaging.events import PayOrderEvent
from paybell.messaging.signatures import EventKeys
from paybell.storage import Database
from paybell.tokens import Principal

SHOP = Principal("shop", frozenset({"pay-orders:write"}), "1")

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]


async def test_past_events_go_to_one_queue_alone_signed_and_under_their_own_ids(
    pay_url: str, trade_url: str, rabbitmq_url: str, tmp_path: Path
) -> None:
    async with Database.open(pay_url, SystemClock()) as database:
        side = PaySide(database)
        await side.fund("7", 1_000)
        old, paid, refunded = await pay(side, 5_001, 5_002, 5_003)
        await side.refund(refunded.id, 40)
        closed = await side.order(5_004, "7", 100)
        await side.pay.close(closed.id, SHOP, "")
        await side.order(5_005, "7", 100)
    async with connected(pay_url) as rows:
        await rows.execute(
            "UPDATE pay_orders SET succeeded_at = now() - interval '3 days' WHERE id = ANY($1::bigint[])",
            [old.id, refunded.id],
        )
    settings: dict[str, Any] = {
        "database_url": pay_url,
        "trade_database_url": trade_url,
        "broker_url": rabbitmq_url,
        "jwt_secret": SECRET,
        "pin_pepper": PEPPER_SETTING,
    }
    late, other = unique("late"), unique("other")
    yesterday = (SystemClock().now().date()).isoformat()

    async def tell(queue: str) -> tuple[int, str]:
        arguments = ("--since", yesterday, "--queue", queue, "--json")
        return await run("tell", *arguments, log=tmp_path / "log", **settings)

    with stranger(rabbitmq_url) as outside:
        for name in (late, other):
            outside.channel.queue_declare(name, durable=True, exclusive=False)
        code, said = await tell(late)
        got = outside.take(late)
        beside = outside.take(other)
        for name in (late, other):
            outside.channel.queue_delete(name)
    missing, why = await tell("no-such-queue")

    assert (code, json.loads(said.splitlines()[-1])) == (0, {"published": 3, "queue": late})
    events = [msgspec.json.decode(body, type=PayOrderEvent) for _, body in got]
    assert [(event.type, event.id) for event in events] == [
        ("pay.success", f"{paid.id}-{paid.version}"),
        ("pay.refunded", f"{refunded.id}-{refunded.version + 1}"),
        ("pay.closed", f"{closed.id}-2"),
    ]
    keys = EventKeys(token_secret=SECRET)
    assert all(properties.headers["paybell-signature"] == keys.sign_event(body) for properties, body in got)
    assert beside == []
    assert missing == 1
    assert "no queue no-such-queue" in why
