"""Attempts as operators look at them: what needs a person, and everything that became of one."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from paybell.channels import store
from paybell.channels.attempt import Attempt, AttemptState
from paybell.channels.errors import UnknownAttempt
from paybell.channels.returns import ReturnState
from paybell.clock import Clock
from paybell.pay import store as pay_orders
from paybell.pay.model import PayOrder
from paybell.storage import Database, load_queries

_SQL = load_queries(__package__, "inspection.sql")
# What no channel has said anything certain about for so long is shown; it is still queried by itself.
LONG_IN_DOUBT = timedelta(minutes=10)


class Need(StrEnum):
    """Why an attempt is looked at, the most urgent first."""

    MANUAL = "manual"  # two people have to settle it
    NOT_GIVEN_BACK = "not_given_back"  # its money came twice or late, and its channel refuses to give it back
    DIFFERS = "differs"  # its channel says another amount, merchant or number than was asked for
    IN_DOUBT = "in_doubt"  # it is queried by itself, and has been for long
    GIVING_BACK = "giving_back"  # its money came twice or late, and has not gone back
    DISPUTED = "disputed"  # the buyer disputes it, and it has to be answered at the channel in time


class Statement(msgspec.Struct, frozen=True):
    """What people have said of an attempt: one asks, another one confirms, or it is withdrawn."""

    attempt_id: int
    outcome: str
    reference: str
    note: str
    asked_by: str
    asked_at: datetime
    confirmed_by: str | None
    confirmed_at: datetime | None


class Moment(msgspec.Struct, frozen=True):
    """What happened to an attempt.

    ``what`` is a state, ``asked``, ``confirmed`` or ``withdrawn`` (by ``who``), or ``return_`` and the state
    of the money on its way back, ``disputed`` or ``dispute_closed``; ``words`` are the channel's or a
    person's.
    """

    at: datetime
    what: str
    who: str
    words: str


class Case(msgspec.Struct, frozen=True):
    """An attempt, its order, what people have said of it (None: nothing that stands), and its history.

    ``given_back``: where what it brought twice or late stands; None: it brought nothing so.
    """

    attempt: Attempt
    order: PayOrder
    statement: Statement | None
    given_back: ReturnState | None
    history: list[Moment]


class Inspection:
    """Reads attempts; changes nothing."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def list(
        self, need: Need | None, state: AttemptState | None, before: int, limit: int
    ) -> list[tuple[Attempt, Statement | None]]:
        """Return attempts that need a person for this reason, or all, in a state or any.

        Newest first, with ids below ``before``; each with what people have said of it.
        """
        query = _SQL["list_all" if need is None else f"list_{need}"]
        before_now = {Need.IN_DOUBT: LONG_IN_DOUBT, Need.DIFFERS: store.DIFFERENCES_SHOWN}
        since = [self._clock.now() - before_now[need]] if need in before_now else []
        rows = await self._database.fetch(query, state, before, limit, *since)
        found = [store.attempt(row) for row in rows]
        said = await self._statements([one.id for one in found])
        return [(one, said.get(one.id)) for one in found]

    async def counts(self) -> dict[Need, int]:
        """Return how many need a person, by reason."""
        now = self._clock.now()
        row = await self._database.fetch_one(
            _SQL["count_needs"], now - LONG_IN_DOUBT, now - store.DIFFERENCES_SHOWN
        )
        assert row is not None
        return {need: row[need.value] for need in Need}

    async def read(self, attempt_id: int) -> Case:
        """Return one attempt with everything that is known of it.

        Raises:
            UnknownAttempt.
        """
        attempt = await store.find(self._database, attempt_id)
        if attempt is None:
            raise UnknownAttempt
        order = await pay_orders.find(self._database, attempt.pay_order_id)
        assert order is not None, "an attempt names a pay order"
        said = await self._statements([attempt_id])
        owed = await self._database.fetch_one(_SQL["given_back"], attempt_id)
        given_back = None if owed is None else ReturnState(owed["state"])
        rows = await self._database.fetch(_SQL["history"], attempt_id)
        return Case(attempt, order, said.get(attempt_id), given_back, [Moment(**row) for row in rows])

    async def _statements(self, attempt_ids: Sequence[int]) -> dict[int, Statement]:
        rows = await self._database.fetch(_SQL["statements"], attempt_ids)
        return {row["attempt_id"]: Statement(**row) for row in rows}
