"""Statements: an account's transfers in the order of time, in pages or as one long stream."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal

from paybell.clock import micros_of, moment_of
from paybell.errors import InvalidRequest
from paybell.storage import Database, Record, load_queries
from paybell.wallet.errors import WalletNotFound

_SQL = load_queries(__package__, "statements.sql")
PAGE_MAX = 1_000
_STREAM_PAGE = 5_000
_EPOCH = moment_of(0)
_ALWAYS = datetime(9999, 1, 1, tzinfo=UTC)
_ID_MAX = (1 << 63) - 1
# After earlier releases a place alone; since then with the moment and the snapshot of the first page.
_CURSOR = re.compile(
    r"([0-9]{1,17})-([0-9]{1,19})(?:-([0-9]{1,17})-([0-9]{1,19}:[0-9]{1,19}:[0-9,]{0,4000}))?", re.ASCII
)
Side = Literal["wallet", "merchant"]


@dataclass(frozen=True, slots=True)
class Reading:
    """When a statement's first page was read: all its pages show what was committed then.

    ``snapshot`` is PostgreSQL's, so that a transfer that commits between two pages, with a time before the
    cursor's, is not skipped by one statement and shown by another of the same reading.
    """

    at: datetime
    snapshot: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where in an account's history: after this transfer, in a reading that has begun or in a new one."""

    at: datetime = _EPOCH
    transfer_id: int = 0
    reading: Reading | None = None

    @classmethod
    def parse(cls, cursor: str, field: str = "cursor") -> "Place":
        """Read a cursor that `text` wrote, out of this query parameter.

        Raises:
            InvalidRequest: it is none.
        """
        match = _CURSOR.fullmatch(cursor)
        if match is None or int(match[2]) > _ID_MAX or not _is_snapshot(match[4] or "1:1:"):
            raise InvalidRequest(f"{field}: use `next` of the page before.", field=field)
        reading = Reading(moment_of(int(match[3])), match[4]) if match[4] else None
        return cls(moment_of(int(match[1])), int(match[2]), reading)

    @property
    def text(self) -> str:
        """The cursor for clients."""
        place = f"{micros_of(self.at)}-{self.transfer_id}"
        if self.reading is None:
            return place
        return f"{place}-{micros_of(self.reading.at)}-{self.reading.snapshot}"


def _is_snapshot(text: str) -> bool:
    """Say whether this is a snapshot as PostgreSQL writes one: its begin, its end, what ran in between."""
    begin, end, running = text.split(":")
    try:
        ids = [int(begin), *(int(one) for one in running.split(",") if running), int(end)]
    except ValueError:
        return False
    return ids[0] > 0 and ids[-1] <= _ID_MAX and all(a <= b for a, b in pairwise(ids))


@dataclass(frozen=True, slots=True)
class Line:
    """One transfer as one of its two accounts sees it: minor units, negative when they went out.

    ``reference`` is the pay order's id of a payment, the refund's id of a refund, empty otherwise.
    """

    id: int
    at: datetime
    kind: str
    amount: int
    currency: str
    reference: str


@dataclass(frozen=True, slots=True)
class Page:
    """Some lines, and where the next page begins, if there is one."""

    lines: list[Line]
    next: Place | None


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose account: a user's wallet or a merchant's; without a currency the CNY one, else the first."""

    side: Side
    owner_id: str
    currency: str | None


@dataclass(frozen=True, slots=True)
class Period:
    """From a moment (included) to another (not included)."""

    start: datetime = _EPOCH
    end: datetime = _ALWAYS


class Statements:
    """Reads what moved on an account."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, owner: Owner, period: Period, after: Place, limit: int) -> Page:
        """Return up to ``limit`` lines after a place, as its reading saw them.

        Raises:
            WalletNotFound: there is no such account.
        """
        return await self._page(await self._account(owner), period, after, limit)

    async def stream(self, owner: Owner, period: Period) -> AsyncIterator[Sequence[Line]]:
        """Go through all lines of a period as they were when it began, in flat memory.

        No transaction is open meanwhile, however slowly somebody reads.

        Raises:
            WalletNotFound: there is no such account.
        """
        account = await self._account(owner)
        after: Place | None = Place()
        while after is not None:
            page = await self._page(account, period, after, _STREAM_PAGE)
            yield page.lines
            after = page.next

    async def _account(self, owner: Owner) -> Record:
        row = await self._database.fetch_one(_SQL["find_account"], owner.owner_id, owner.side, owner.currency)
        if row is None:
            raise WalletNotFound
        return row

    async def _page(self, account: Record, period: Period, after: Place, limit: int) -> Page:
        reading = after.reading or Reading(account["taken_at"], account["snapshot"])
        # The moment before the period: no transfer has the id 0.
        begin = max(after, Place(period.start, 0), key=lambda place: (place.at, place.transfer_id))
        rows = await self._database.fetch(
            _SQL["transfers_after"],
            account["id"],
            begin.at,
            begin.transfer_id,
            period.end,
            limit,
            reading.at,
            reading.snapshot,
        )
        lines = [
            Line(
                id=row["id"],
                at=row["created_at"],
                kind=row["kind"],
                amount=row["amount"],
                currency=account["currency"],
                reference="" if row["kind"] == "top_up" else row["reference"],
            )
            for row in rows
        ]
        following = Place(lines[-1].at, lines[-1].id, reading) if len(lines) == limit else None
        return Page(lines, following)
