"""Stripe's balance transactions of a time, as a bill: without fees and payouts."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from paybell.channels.bills import BadBill, Entry, Key, collected
from paybell.channels.errors import ChannelUnavailable
from paybell.channels.strict_json import Malformed, convert, read_object
from paybell.channels.stripe.api import StripeApi
from paybell.channels.stripe.messages import form, path

_PAID, _REFUNDED = {"charge", "payment"}, {"refund", "payment_refund"}
# Small, because an answer has at most 64 KiB and each row brings its charge or refund along.
_PAGE = 20


class _Source(msgspec.Struct):
    """A charge or refund; its amount is the buyer's, whatever currency the account is settled in."""

    id: str
    amount: int = 0
    currency: str = ""
    payment_intent: str | None = None
    metadata: dict[str, str] = {}


class _Row(msgspec.Struct):
    id: str
    type: str
    source: _Source | str | None = None


class _Page(msgspec.Struct):
    data: list[_Row]
    has_more: bool


async def read_report(api: StripeApi, start: datetime, end: datetime) -> Mapping[Key, Entry]:
    """Return what Stripe entered in a time.

    Args:
        api: of the account.
        start: of the period.
        end: not included.

    Raises:
        ChannelUnavailable: it did not answer. BadBill: with something else than balance transactions.
    """
    rows, after = list[tuple[Key, Entry]](), ""
    while True:
        page = await _page(api, start, end, after)
        rows += [entry for row in page.data if (entry := _entry(row)) is not None]
        if not page.has_more or not page.data:
            return collected(rows)
        after = page.data[-1].id


async def _page(api: StripeApi, start: datetime, end: datetime, after: str) -> _Page:
    query = {
        "created": {"gte": int(start.timestamp()), "lt": int(end.timestamp())},
        "limit": _PAGE,
        "expand": ["data.source"],
        **({"starting_after": after} if after else {}),
    }
    answer = await api.call("GET", f"{path('balance_transactions')}?{form(query).decode()}")
    if not isinstance(answer, bytes):
        raise ChannelUnavailable
    try:
        return convert(read_object(answer), _Page)
    except Malformed as error:
        raise BadBill from error


def _entry(row: _Row) -> tuple[Key, Entry] | None:
    """Return a payment or refund; what nobody of ours has asked for goes by Stripe's own number."""
    source = row.source
    if not isinstance(source, _Source) or row.type not in _PAID | _REFUNDED:
        return None
    entry = Entry(abs(source.amount), source.currency.upper(), source.payment_intent or source.id)
    if row.type in _PAID:
        return Key("payment", source.metadata.get("attempt", source.id)), entry
    return Key("refund", source.metadata.get("refund", source.id)), entry
