"""While somebody holds a snapshot, what is removed stays in the tables; claiming does not walk over it."""

import json
from uuid import uuid4

import pytest
from support import connected

from paybell.clock import SystemClock
from paybell.messaging.outbox import Outbox, Publication
from paybell.messaging.outbox_floor import STEP, OutboxFloor
from paybell.storage import Database, Query, load_queries

pytestmark = pytest.mark.slow

_CLAIM = load_queries("paybell.messaging")["claim_events"]
_APPEND = Query(
    "INSERT INTO outbox (event_id, type, subject, body, occurred_at, traceparent) "
    "SELECT gen_random_uuid(), 'pay.success', '1', '{}', now(), '' FROM generate_series(1, $1) RETURNING id"
)
BATCH = 500


async def pass_through(database: Database, events: int) -> None:
    """Append events, and publish them all."""
    outbox, token, now = Outbox(database), uuid4(), SystemClock().now()
    for _ in range(events // BATCH):
        await database.fetch(_APPEND, BATCH)
        claimed = await outbox.claim(token, 60, BATCH)
        published = Publication("1", now, now)
        assert await outbox.finish([event.id for event in claimed], token, published) == BATCH


async def pages_of_a_claim(url: str) -> int:
    """Return how many pages a claim of an empty outbox looks at."""
    async with connected(url) as rows:
        explained = await rows.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {_CLAIM}", uuid4(), 60.0, BATCH
        )
    plan = json.loads(explained)[0]["Plan"]
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


async def floor_of(database: Database) -> int:
    row = await database.fetch_one(Query("SELECT id FROM outbox_floor"))
    assert row is not None
    return int(row["id"])


async def test_a_claim_does_not_walk_over_what_an_old_snapshot_keeps(
    pay_url: str, pay_database: Database
) -> None:
    floor = OutboxFloor(pay_database)
    async with connected(pay_url) as other, other.transaction(isolation="repeatable_read"):
        await other.fetchval("SELECT count(*) FROM outbox")
        for _ in range(10):
            await pass_through(pay_database, 2 * STEP)
            await floor.run_once()
        await floor.run_once()
        followed = await pages_of_a_claim(pay_url)
        await pay_database.fetch(Query("UPDATE outbox_floor SET id = 0 RETURNING id"))
        from_the_start = await pages_of_a_claim(pay_url)

    assert followed * 10 < from_the_start


async def test_the_floor_never_passes_an_event_that_commits_late(
    pay_url: str, pay_database: Database
) -> None:
    """Its id is lower than those of events that were published long ago."""
    floor, outbox = OutboxFloor(pay_database), Outbox(pay_database)
    async with connected(pay_url) as other, other.transaction():
        late = await other.fetchval(_APPEND, 1)
        await pass_through(pay_database, 2 * STEP)
        for _ in range(3):
            await floor.run_once()
        assert await floor_of(pay_database) <= late

    (claimed,) = await outbox.claim(uuid4(), 60, BATCH)
    assert claimed.id == late


async def test_the_floor_stops_at_the_lowest_event_that_waits(pay_database: Database) -> None:
    """Whoever holds it."""
    floor, outbox = OutboxFloor(pay_database), Outbox(pay_database)
    await pass_through(pay_database, 2 * STEP)
    (waiting,) = await pay_database.fetch(_APPEND, 1)
    await outbox.claim(uuid4(), 60, BATCH)
    await pass_through(pay_database, 2 * STEP)
    for _ in range(2):
        await floor.run_once()

    assert await floor_of(pay_database) == waiting["id"]
    assert (await outbox.state())[0] == 1
