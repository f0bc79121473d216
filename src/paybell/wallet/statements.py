"""Statements: an account's transfers in the order of time, in pages or as one long stream."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from paybell.errors import InvalidRequest
from paybell.storage import Database, Record, load_queries
from paybell.wallet.errors import WalletNotFound

_SQL = load_queries(__package__, "statements.sql")
PAGE_MAX = 1_000
_STREAM_PAGE = 5_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ALWAYS = datetime(9999, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"([0-9]{1,17})-([0-9]{1,19})", re.ASCII)
Side = Literal["wallet", "merchant"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where in an account's history: after this transfer."""

    at: datetime = _EPOCH
    transfer_id: int = 0

    @classmethod
    def parse(cls, cursor: str) -> "Place":
        """Read a cursor that `text` wrote.

        Raises:
            InvalidRequest: it is none.
        """
        match = _CURSOR.fullmatch(cursor)
        if match is None or int(match[2]) >= 1 << 63:
            raise InvalidRequest("cursor: use the one of the page before.", field="cursor")
        return cls(_EPOCH + timedelta(microseconds=int(match[1])), int(match[2]))

    @property
    def text(self) -> str:
        """The cursor for clients."""
        return f"{(self.at - _EPOCH) // timedelta(microseconds=1)}-{self.transfer_id}"


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

    @property
    def place(self) -> Place:
        """Where the next page begins."""
        return Place(self.at, self.id)


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
        """Read the pay database."""
        self._database = database

    async def page(self, owner: Owner, period: Period, after: Place, most: int) -> list[Line]:
        """Return up to ``most`` lines after a place.

        Raises:
            WalletNotFound: there is no such account.
        """
        return await self._lines(await self._account(owner), period, after, most)

    async def stream(self, owner: Owner, period: Period) -> AsyncIterator[Sequence[Line]]:
        """Go through all lines of a period, in flat memory.

        Raises:
            WalletNotFound: there is no such account.
        """
        account, after = await self._account(owner), Place()
        while lines := await self._lines(account, period, after, _STREAM_PAGE):
            yield lines
            after = lines[-1].place

    async def _account(self, owner: Owner) -> Record:
        row = await self._database.fetch_one(_SQL["find_account"], owner.owner_id, owner.side, owner.currency)
        if row is None:
            raise WalletNotFound
        return row

    async def _lines(self, account: Record, period: Period, after: Place, most: int) -> list[Line]:
        # The moment before the period: no transfer has the id 0.
        begin = max(after, Place(period.start, 0), key=lambda place: (place.at, place.transfer_id))
        rows = await self._database.fetch(
            _SQL["transfers_after"], account["id"], begin.at, begin.transfer_id, period.end, most
        )
        return [
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
