"""What routes of lists share: their query parameters, who may see what, and answers as pages or as CSV."""

from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from litestar import Response
from litestar.di import Provide
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, OpenAPIType, Operation, Schema
from litestar.params import QueryParameter

from paybell.clock import Clock, moment_of
from paybell.errors import InsufficientScope, InvalidRequest
from paybell.money import AMOUNT_MAX
from paybell.storage.listing import Listing, Place, Wanted
from paybell.tokens import Principal
from paybell.web.auth import Caller
from paybell.web.bodies import JSON
from paybell.web.csv import CSV, csv_head, csv_rows
from paybell.web.negotiation import preferred
from paybell.web.queries import read_moment

PAGE_MAX = 200
_RANGE, _RANGE_MAX = timedelta(days=7), timedelta(days=92)
# Other machines' clocks may be ahead of ours so much; nothing is older than these times begin.
_AHEAD, _FIRST = timedelta(minutes=1), moment_of(0)
# Where an answer in CSV did not hold everything: what goes on after it.
NEXT_HEADER = "Paybell-Next"
Row = TypeVar("Row")
Moment = Annotated[
    str | None,
    QueryParameter(description="A time of RFC 3339, such as 2026-01-31T12:00:00Z.", max_length=40),
]
_Since = Annotated[
    str | None,
    QueryParameter(description="A time of RFC 3339; 7 days before `until`, 92 at most.", max_length=40),
]
_MinAmount = Annotated[
    int | None, QueryParameter(name="minAmount", ge=0, le=AMOUNT_MAX, description="Whole minor units.")
]
_MaxAmount = Annotated[
    int | None, QueryParameter(name="maxAmount", ge=0, le=AMOUNT_MAX, description="Whole minor units.")
]
_After = Annotated[str | None, QueryParameter(description="`next` of the page before.", max_length=60)]
Next = Annotated[
    str | None, msgspec.Meta(description="Send it as `after`; a page with few rows, or none, may have one.")
]


def wanted_by(clock: Clock) -> Mapping[str, Provide]:
    """Return the dependency ``wanted`` of routes that list what was made in some time."""

    def read(
        *,
        since: _Since = None,
        until: Moment = None,
        min_amount: _MinAmount = None,
        max_amount: _MaxAmount = None,
        after: _After = None,
        limit: Annotated[int, QueryParameter(ge=1, le=PAGE_MAX)] = 50,
    ) -> Wanted:
        latest = clock.now() + _AHEAD
        end = latest if until is None else min(max(read_moment(until, "until"), _FIRST + _RANGE), latest)
        place = None if after is None else Place.parse(after)
        return Wanted(
            _begin(since, end, place),
            end,
            limit,
            place,
            least=min_amount or 0,
            most=AMOUNT_MAX if max_amount is None else max_amount,
        )

    return {"wanted": Provide(read, sync_to_thread=False)}


def _begin(since: str | None, end: datetime, place: Place | None) -> datetime:
    """Return where a list ends; its later pages end where the first one said.

    Raises:
        InvalidRequest: that is too far.
    """
    if since is None:
        return end - _RANGE if place is None else place.since
    begin = max(read_moment(since, "since"), _FIRST)
    if end - begin > _RANGE_MAX + _AHEAD:
        raise InvalidRequest(f"since: at most {_RANGE_MAX.days} days before until.", field="since")
    return begin


def seen_by(caller: Principal, wanted: Wanted, scope: str) -> Wanted:
    """Return what of it a caller may see: with the scope what is its merchant's, else what is its own.

    Raises:
        InsufficientScope: it asks for what is somebody else's.
    """
    if caller.has(scope):
        return replace(wanted, merchant=caller.merchant_id)
    if wanted.person not in (None, caller.user_id):
        raise InsufficientScope(f"What is another user's needs the scope {scope}.")
    return replace(wanted, person=caller.user_id)


def alone(request: Caller, name: str) -> None:
    """Insist that a parameter that names rows comes without others, which would choose among them.

    Raises:
        InvalidRequest: it does not.
    """
    if any(other != name for other in request.query_params):
        raise InvalidRequest(f"{name}: without other parameters.", field=name)


@dataclass(frozen=True, slots=True)
class Shown(Generic[Row]):
    """How a list is shown: each row as ``view``, which makes the ``columns`` of CSV, and a page of them."""

    columns: type[msgspec.Struct]
    view: Callable[[Row], Any]
    page: Callable[[list[Any], str | None], msgspec.Struct]


async def listed(request: Caller, listing: Listing[Row], wanted: Wanted, shown: Shown[Row]) -> Response[Any]:
    """Return a page; or, for who would rather have CSV, everything from there on, as it is at one moment."""
    if preferred(request.headers.get("accept", ""), (JSON, CSV)) == CSV:
        return await _table(listing, wanted, shown)
    page = await listing.page(wanted)
    following = None if page.next is None else page.next.text
    return Response(shown.page([shown.view(row) for row in page.rows], following))


async def _table(listing: Listing[Row], wanted: Wanted, shown: Shown[Row]) -> Response[bytes]:
    """Read it before the answer begins: however slowly somebody takes it, the database is free."""
    parts, following = [csv_head(shown.columns)], None
    async with aclosing(listing.table(wanted)) as pages:
        async for page in pages:
            parts.append(csv_rows(shown.view(row) for row in page.rows))
            following = page.next
    headers = {} if following is None else {NEXT_HEADER: following.text}
    return Response(b"".join(parts), media_type=CSV, headers=headers)


@dataclass
class AlsoCsv(Operation):
    """How OpenAPI describes a route that answers in CSV too."""

    def __post_init__(self) -> None:
        page = (self.responses or {})["200"]
        if isinstance(page, OpenAPIResponse) and page.content:
            page.content[CSV] = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))
