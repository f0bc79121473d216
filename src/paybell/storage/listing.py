"""Lists of what is newest, in pages.

A page is read along an index, in pieces of bounded length and for a bounded time: a filter that few rows pass
makes a page short, never slow. The next page goes on where the reading ended.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from paybell.clock import Clock, micros_of, moment_of
from paybell.errors import InvalidRequest
from paybell.ids import ID_MAX, first_id
from paybell.storage.database import Database
from paybell.storage.queries import load_queries
from paybell.storage.transaction import Record, Transaction

_SQL = load_queries(__package__, "listing.sql")
# Pieces are as long as the queries say; after this long no other one is begun for a page.
_READ_SECONDS = 0.025
# A table of all rows is read in pieces of so many rows, for so long, and ends after so many.
_TABLE_PAGE, TABLE_SECONDS, TABLE_ROWS_MAX = 2_000, 3.0, 50_000
# Tables that are read at once of one kind of list; each holds a session.
_TABLES_AT_ONCE = 2
# An id is made within the transaction whose time the row has; a machine's clock may be set back in between.
_ID_MARGIN = timedelta(minutes=1)
_CURSOR = re.compile(r"([0-9]{1,17})-([0-9]{1,19})-([0-9]{1,17})", re.ASCII)
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a list goes on: with what is older than this row; ``since`` is where the list ends."""

    at: datetime
    id: int
    since: datetime

    @classmethod
    def parse(cls, cursor: str) -> "Place":
        """Read a cursor that `text` wrote.

        Raises:
            InvalidRequest: it is none.
        """
        match = _CURSOR.fullmatch(cursor)
        if match is None or not 1 <= int(match[2]) <= ID_MAX:
            raise InvalidRequest("after: use `next` of the page before.", field="after")
        return cls(moment_of(int(match[1])), int(match[2]), moment_of(int(match[3])))

    @property
    def text(self) -> str:
        """The cursor for clients."""
        return f"{micros_of(self.at)}-{self.id}-{micros_of(self.since)}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows: made from ``since`` (included) to ``until`` (not included), amounts in minor units.

    None: whatever it is. ``person`` is the payer or buyer.
    """

    since: datetime
    until: datetime
    limit: int
    after: Place | None = None
    least: int = 0
    most: int = ID_MAX
    status: str | None = None
    person: str | None = None
    merchant: str | None = None

    @property
    def ids(self) -> tuple[int, int]:
        """The least id that is wanted, and the first too high one, where ids are in the order of time."""
        end = min(first_id(self.until + _ID_MARGIN), ID_MAX)
        return first_id(self.since - _ID_MARGIN), end if self.after is None else self.after.id


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows, newest first, and where the next page begins, if there may be one."""

    rows: list[Row]
    next: Place | None


# Reads a piece: up to so many wanted rows, with a column ``edge`` that is false; where they are fewer
# and the piece did not end the list, one more whose ``edge`` is true: the last row that was looked at.
Walk = Callable[[Transaction, Wanted, int], Awaitable[Sequence[Record]]]


class Listing(Generic[Row]):
    """One kind of list: ``walk`` reads pieces of it, ``show`` makes values of its rows."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        walk: Walk,
        show: Callable[[Sequence[Record]], Awaitable[list[Row]]],
    ) -> None:
        self._database = database
        self._clock = clock
        self._walk = walk
        self._show = show
        self._tables = asyncio.Semaphore(_TABLES_AT_ONCE)

    async def page(self, wanted: Wanted) -> Page[Row]:
        """Return a page; one that is not full may still have a next one.

        Raises:
            DatabaseUnavailable, DatabaseBusy.
        """
        async with self._database.snapshot() as tx:
            await tx.fetch(_SQL["walk_along_indexes"])
            return await self._page(tx, wanted)

    async def table(self, wanted: Wanted) -> AsyncGenerator[Page[Row], None]:
        """Go through all pages of one moment, up to `TABLE_ROWS_MAX` rows and `TABLE_SECONDS`.

        Errors as of `page`. A session is held meanwhile, so whoever asks takes the pages as they come.
        """
        async with self._tables, self._database.snapshot() as tx:
            await tx.fetch(_SQL["walk_along_indexes"])
            ends_at, left = self._clock.monotonic() + TABLE_SECONDS, TABLE_ROWS_MAX
            while left and self._clock.monotonic() < ends_at:
                page = await self._page(tx, replace(wanted, limit=min(left, _TABLE_PAGE)))
                yield page
                if page.next is None:
                    return
                wanted, left = replace(wanted, after=page.next), left - len(page.rows)

    async def _page(self, tx: Transaction, wanted: Wanted) -> Page[Row]:
        ends_at = self._clock.monotonic() + _READ_SECONDS
        found, following = list[Record](), wanted.after
        while True:
            # One more than is shown says whether there is a next page.
            rows = await self._walk(tx, replace(wanted, after=following), wanted.limit + 1 - len(found))
            edge = rows[-1] if rows and rows[-1]["edge"] else None
            found += rows if edge is None else rows[:-1]
            if len(found) > wanted.limit:
                found = found[: wanted.limit]
                following = _place(found[-1], wanted)
                break
            following = None if edge is None else _place(edge, wanted)
            if following is None or self._clock.monotonic() >= ends_at:
                break
        return Page(await self._show(found), following)


def _place(row: Record, wanted: Wanted) -> Place:
    return Place(row["created_at"], row["id"], wanted.since)
