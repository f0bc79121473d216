"""Promise 4 for as long as it matters: what is removed is old, and nobody waits for the removing."""

from datetime import timedelta

import pytest
from notebook import deliveries, notebook
from support import PaySide, connected

from paybell.errors import Misconfigured
from paybell.ids import ID_MAX
from paybell.messaging.failures import Chosen, FailureStore
from paybell.messaging.tables import listener_rules
from paybell.pay.tables import retention_rules
from paybell.settings import read_settings
from paybell.storage import Database
from paybell.storage.operator_actions import list_actions
from paybell.storage.retention import PIECE, Cleaner
from paybell.testing import FrozenClock

DAYS = 30
LISTENER_RULES = listener_rules(inbox_days=DAYS, dead_letter_days=DAYS)


async def clean(database: Database) -> list[int]:
    """Run until nothing is left; return the size of each piece."""
    cleaner, pieces = Cleaner(database, LISTENER_RULES), list[int]()
    while removed := await cleaner.run_once():
        pieces.append(removed)
    return pieces


async def test_what_is_old_goes_in_small_pieces_and_the_rest_stays(trade_url: str) -> None:
    """Remembered events; what is tried again, or nobody has given up, stays, however old."""
    clock = FrozenClock()
    async with notebook(trade_url, clock) as book:
        book.rejects = {1: "not_wanted"}
        book.fails = {2: RuntimeError("no")}
        await book.runner.apply(deliveries(*range(1, 2 * PIECE + 3)))
        clock.advance(timedelta(days=DAYS, seconds=1).total_seconds())
        await book.runner.apply(deliveries(9_998))

        pieces = await clean(book.database)

        assert max(pieces) <= PIECE
        assert sum(pieces) == 2 * PIECE
        assert await book.remembered() == [9_998]
        assert [(row["event_id"], row["state"]) for row in await book.kept()] == [
            ("pay.success:1", "dead"),
            ("pay.success:2", "retry"),
        ]


async def test_a_dead_letter_is_removed_only_after_somebody_has_given_it_up(trade_url: str) -> None:
    """A while after, so that it can be taken back; of what was applied meanwhile the inbox still knows."""
    clock, days = FrozenClock(), timedelta(days=DAYS, seconds=1).total_seconds()
    async with notebook(trade_url, clock) as book:
        book.rejects = {1: "not_wanted", 2: "not_wanted", 3: "not_wanted"}
        await book.runner.apply(deliveries(1, 2, 3))
        rows = {row["event_id"]: row["id"] for row in await book.kept()}
        failures = FailureStore(book.database)
        clock.advance(days)
        unseen = await clean(book.database)
        given_up = await failures.acknowledge(Chosen(reason="not_wanted"), "carol")
        again = await failures.acknowledge(Chosen(), "carol")
        at_once = await clean(book.database)
        counts = await failures.counts()
        all_back = await failures.replay(Chosen(), "carol")
        one_back = await failures.replay(Chosen(ids=[rows["pay.success:3"]]), "carol")
        clock.advance(days)
        later = await clean(book.database)

        assert (unseen, given_up, again, at_once) == ([], 3, 0, [])
        assert counts == {"retry": 0, "dead": 0}
        assert (all_back, one_back, later) == (0, 1, [2])
        assert [(row["event_id"], row["state"]) for row in await book.kept()] == [("pay.success:3", "retry")]
        assert [(one.who, one.action, one.rows) for one in await list_actions(book.database, ID_MAX, 9)] == [
            ("carol", "replay", 1),
            ("carol", "acknowledge", 3),
        ]


async def test_an_event_is_remembered_while_a_copy_of_it_is_a_dead_letter(
    trade_url: str,
) -> None:
    """Or its replay, long after, would apply it a second time."""
    clock = FrozenClock()
    async with notebook(trade_url, clock) as book, connected(trade_url) as rows:
        book.rejects = {1: "not_wanted"}
        await book.runner.apply(deliveries(1, 2))
        await rows.execute(
            "INSERT INTO inbox (listener, event_id, received_at) "
            "SELECT listener, event_id, last_failed_at FROM failed_deliveries"
        )
        clock.advance(timedelta(days=DAYS, seconds=1).total_seconds())

        assert await clean(book.database) == [1]
        assert await book.remembered() == [1]


async def test_a_piece_does_not_wait_for_who_holds_a_row(trade_url: str) -> None:
    clock = FrozenClock()
    async with notebook(trade_url, clock) as book, connected(trade_url) as holding:
        await book.runner.apply(deliveries(1, 2, 3))
        clock.advance(timedelta(days=DAYS, seconds=1).total_seconds())
        async with holding.transaction():
            await holding.execute("SELECT FROM inbox WHERE event_id = 'pay.success:2' FOR UPDATE")
            assert await clean(book.database) == [2]
        assert await clean(book.database) == [1]


async def test_a_top_ups_number_stays_taken_when_its_answer_is_gone(pay_url: str) -> None:
    """So a key is never used twice, thirty days or thirty years later."""
    clock = FrozenClock()
    async with Database.open(pay_url, clock) as database:
        side = PaySide(database)
        await side.fund("7", 100)
        clock.advance(timedelta(days=DAYS, seconds=1).total_seconds())

        assert (
            await Cleaner(database, retention_rules(idempotency_days=DAYS, inbox_days=DAYS)).run_once() == 1
        )

        async with connected(pay_url) as rows:
            assert await rows.fetchval("SELECT count(*) FROM idempotency_keys") == 0
            assert await rows.fetchval("SELECT count(*) FROM transfers") == 1


@pytest.mark.parametrize(
    "too_short",
    [
        {"inbox_days": 10, "dead_letter_days": 11},
        {"inbox_days": 1, "dead_letter_days": 1, "reconcile_window_seconds": 90_000},
    ],
    ids=str,
)
def test_forgetting_sooner_than_what_may_come_again_is_refused(too_short: dict[str, int]) -> None:
    with pytest.raises(Misconfigured, match="PAYBELL_INBOX_DAYS"):
        read_settings({}, **too_short)
