"""``paybell reconcile --channel``: a channel's own bill beside what we entered of its money."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Literal

from rich.table import Table

from paybell.channels.alipay import bill as alipay
from paybell.channels.alipay.messages import BEIJING
from paybell.channels.alipay.opening import PAGE, QR
from paybell.channels.bill_matching import Matched, match_bill
from paybell.channels.bills import Difference, Entry, Key
from paybell.channels.http import ChannelHttp
from paybell.channels.stripe.opening import stripe_api
from paybell.channels.stripe.report import read_report
from paybell.channels.wechat import bill as wechat
from paybell.cli.output import out, print_json, say_how_many
from paybell.clock import Clock
from paybell.errors import InvalidRequest
from paybell.money import format_amount
from paybell.serving.databases import prepared
from paybell.settings import read_settings
from paybell.storage import READING, Database

BillChannel = Literal["alipay", "wechat", "stripe"]
SHOWN_MAX = 50
_READERS = {"alipay": ((QR, PAGE), alipay.read_bill), "wechat": (("wechat",), wechat.read_bill)}
_BYTES_MAX = 64 * 1024 * 1024


async def match_channel(
    channel: BillChannel, path: Path | None, since: str | None, until: str | None, clock: Clock, *, json: bool
) -> int:
    """Match a bill and show what came of it; return the exit code, 0 when both sides are equal.

    Raises:
        InvalidRequest: the file cannot be read, or no day is given. BadBill: it is no whole bill.
        ChannelUnavailable: Stripe did not answer.
    """
    settings = read_settings()
    # Chinese channels count their days in Beijing.
    start, end = _days(since, until, UTC if channel == "stripe" else BEIJING)
    if channel == "stripe":
        if path is not None:
            raise InvalidRequest("Stripe is asked for its balance transactions; leave --file out.")
        names: Sequence[str] = ("stripe",)
        async with ChannelHttp.open() as http:
            bill = await read_report(stripe_api(settings, http), start, end)
    else:
        if path is None:
            raise InvalidRequest(f"Give the bill of {channel} as --file.")
        names, read = _READERS[channel]
        bill = read(_content(path))
    async with (
        prepared(settings, clock, ["pay"]) as urls,
        Database.open(urls["pay"], clock, connections=2, limits=READING) as database,
    ):
        matched = await match_bill(database, names, bill, start, end)
    if json:
        print_json(_summary(channel, matched))
    else:
        _show(channel, matched)
    return 1 if matched.differences else 0


def _days(since: str | None, until: str | None, zone: tzinfo) -> tuple[datetime, datetime]:
    try:
        first = date.fromisoformat(since or "")
        after = date.fromisoformat(until) if until else first + timedelta(days=1)
    except ValueError:
        raise InvalidRequest(
            "Give the bill's day as --since 2026-01-31; a bill of several days has --until, not included."
        ) from None
    if first >= after:
        raise InvalidRequest("The period ends before it begins; --until is not included.")
    start, end = (datetime.combine(one, datetime.min.time(), zone) for one in (first, after))
    return start, end


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > _BYTES_MAX:
        raise InvalidRequest(f"{path} is longer than a bill of a day.")
    return content


def _summary(channel: str, matched: Matched) -> Mapping[str, object]:
    return {
        "channel": channel,
        "rows": matched.rows,
        "entered": matched.entered,
        "differences": [
            {
                "kind": one.key.kind,
                "number": one.key.number,
                "what": one.how.value,
                "ours": _side(one.ours),
                "theirs": _side(one.theirs),
            }
            for one in matched.differences
        ],
    }


def _side(entry: Entry | None) -> Mapping[str, object] | None:
    return None if entry is None else entry._asdict()


def _show(channel: str, matched: Matched) -> None:
    if matched.differences:
        table = Table("what", "number", "how", "the bill says", "we say")
        for one in matched.differences[:SHOWN_MAX]:
            table.add_row(*_row(one))
        out.print(table)
        say_how_many(len(matched.differences), SHOWN_MAX, len(matched.differences))
    out.print(
        f"{matched.rows:,} rows of {channel}'s bill, {matched.entered:,} payments and refunds entered here, "
        f"{len(matched.differences):,} differ.",
        soft_wrap=True,
    )


def _row(one: Difference) -> Sequence[str]:
    key: Key = one.key
    return key.kind, key.number, one.how.value.replace("_", " "), _words(one.theirs), _words(one.ours)


def _words(entry: Entry | None) -> str:
    return "nothing" if entry is None else f"{format_amount(*entry[:2])} as {entry.transaction_id}"
