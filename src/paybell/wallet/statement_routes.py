"""Routes of statements: a wallet's transfers for its owner, a merchant's for itself; JSON pages or CSV."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, cast

import msgspec
from litestar import Response, Router, get
from litestar.di import NamedDependency, Provide
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery, QueryParameter
from litestar.response import Stream
from msgspec import Meta

from paybell.errors import InsufficientScope, InvalidId, InvalidRequest, UnknownCurrency
from paybell.money import check_currency
from paybell.wallet.errors import NotTheOwner, WalletNotFound
from paybell.wallet.problems import PROBLEMS
from paybell.wallet.statements import PAGE_MAX, Line, Owner, Period, Place, Statements
from paybell.web.auth import Caller, scope, scopes_of
from paybell.web.bodies import JSON
from paybell.web.csv import CSV, csv_head, csv_rows
from paybell.web.fields import PathUserId
from paybell.web.listing import AlsoCsv, Moment
from paybell.web.negotiation import preferred
from paybell.web.queries import read_moment
from paybell.web.texts import check_user_id

TransferKindName = Literal["top_up", "payment", "refund", "refund_failed"]


class TransferView(msgspec.Struct, rename="camel"):
    """One transfer as the account sees it; the amount in minor units, negative when it went out."""

    id: str
    at: datetime
    kind: TransferKindName
    amount: int
    currency: str
    reference: str


class StatementView(msgspec.Struct, rename="camel"):
    """A page of transfers in the order of time; ``next`` is the cursor of the next page, if there is one."""

    transfers: list[TransferView]
    next: Annotated[str | None, Meta(description="Send it as `after`, or as `cursor`.")]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which part of an account's history a request asks for."""

    currency: str | None
    period: Period
    after: Place
    limit: int


def read_asked(
    *,
    currency: FromQuery[str | None] = None,
    since: Moment = None,
    until: Moment = None,
    cursor: FromQuery[str | None] = None,
    after: Annotated[str | None, QueryParameter(description="`cursor` by the name other lists have.")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=PAGE_MAX)] = 100,
) -> Asked:
    """Read the query parameters strictly.

    Raises:
        InvalidRequest, UnknownCurrency: which is wrong.
    """
    whole, field = Period(), "cursor" if after is None else "after"
    place = cursor if after is None else after
    return Asked(
        currency=None if currency is None else check_currency(currency),
        period=Period(
            whole.start if since is None else read_moment(since, "since"),
            whole.end if until is None else read_moment(until, "until"),
        ),
        after=Place() if place is None else Place.parse(place, field),
        limit=limit,
    )


def statement_routes(statements: Statements, merchant_id: str) -> list[Router]:
    """Return the routes under ``/wallets`` (one merchant's) and ``/merchants``."""
    refused = (InvalidId, InvalidRequest, UnknownCurrency, NotTheOwner, WalletNotFound)
    shown = {
        200: ResponseSpec(StatementView, description="A page, or all of it as CSV", generate_examples=False)
    }
    asked_of = {"asked": Provide(read_asked, sync_to_thread=False)}

    @get(
        "/{user_id:str}/transfers",
        operation_id="readWalletTransfers",
        summary="A wallet's transfers, in pages or as CSV",
        operation_class=AlsoCsv,
        responses=PROBLEMS.refusals(*refused) | shown,
    )
    async def of_wallet(request: Caller, user_id: PathUserId, asked: NamedDependency[Asked]) -> Response[Any]:
        if check_user_id(user_id) != request.user.user_id and not request.user.has("wallets:read"):
            raise NotTheOwner
        return await _answer(request, statements, Owner("wallet", user_id, asked.currency), asked)

    @get(
        "/{merchant_id:str}/transfers",
        operation_id="readMerchantTransfers",
        summary="A merchant's transfers, in pages or as CSV",
        operation_class=AlsoCsv,
        opt=scope("merchants:read"),
        responses=PROBLEMS.refusals(*refused, InsufficientScope) | shown,
    )
    async def of_merchant(
        request: Caller, merchant_id: PathUserId, asked: NamedDependency[Asked]
    ) -> Response[Any]:
        if merchant_id != request.user.merchant_id:
            raise NotTheOwner
        return await _answer(request, statements, Owner("merchant", merchant_id, asked.currency), asked)

    return [
        Router(
            "/wallets",
            route_handlers=[of_wallet],
            dependencies=asked_of,
            opt=scopes_of(merchant_id),
            tags=["statements"],
        ),
        Router("/merchants", route_handlers=[of_merchant], dependencies=asked_of, tags=["statements"]),
    ]


async def _answer(
    request: Caller, statements: Statements, owner: Owner, asked: NamedDependency[Asked]
) -> Response[Any]:
    if preferred(request.headers.get("accept", ""), (JSON, CSV)) == CSV:
        # Read before the answer begins, so that a refusal is one.
        await statements.page(owner, asked.period, asked.after, 1)
        return Stream(_csv(statements, owner, asked.period), media_type=CSV)
    page = await statements.page(owner, asked.period, asked.after, asked.limit)
    following = None if page.next is None else page.next.text
    return Response(StatementView([_view(line) for line in page.lines], following))


def _view(line: Line) -> TransferView:
    kind = cast("TransferKindName", line.kind)
    return TransferView(str(line.id), line.at, kind, line.amount, line.currency, line.reference)


async def _csv(statements: Statements, owner: Owner, period: Period) -> AsyncIterator[bytes]:
    yield csv_head(TransferView)
    async for lines in statements.stream(owner, period):
        yield csv_rows(_view(line) for line in lines)
