"""``paybell reconcile --channel``: a channel's own bill beside what we entered of its money."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta, tzinfo
from pathlib import Path

from rich.table import Table

from paybell.channels.bill_matching import Matched, Sum, match_bill
from paybell.channels.bill_sources import BILL_SOURCES, Asking, BillChannel
from paybell.channels.bills import Difference, Entry, Key
from paybell.channels.downloads import BILL_BYTES_MAX
from paybell.channels.http import ChannelHttp
from paybell.cli.output import out, print_json, say_how_many
from paybell.clock import Clock
from paybell.errors import InvalidRequest
from paybell.money import format_amount
from paybell.serving.databases import prepared
from paybell.settings import read_settings
from paybell.storage import READING, Database

SHOWN_MAX = 50
# Each of them is a bill to be asked for.
_DAYS_MAX = 31


async def match_channel(
    channel: BillChannel, path: Path | None, since: str | None, until: str | None, clock: Clock, *, json: bool
) -> int:
    """Match a bill and show what came of it; return the exit code, 0 when both sides are equal.

    Raises:
        InvalidRequest: the file cannot be read, or no day is given. BadBill: it is no whole bill.
        ChannelUnavailable: the channel did not answer. NoBill: it has none of this day.
    """
    settings, source = read_settings(), BILL_SOURCES[channel]
    start, end = _days(since, until, source.zone)
    if path is not None and source.read is None:
        raise InvalidRequest(f"There are no files of {channel}, it is asked; leave --file out.")
    async with (
        prepared(settings, clock, ["pay"]) as urls,
        Database.open(urls["pay"], clock, connections=2, limits=READING) as database,
        ChannelHttp.open() as http,
    ):
        if path is not None and source.read is not None:
            bill = source.read(_content(path))
        else:
            bill = await source.ask(Asking(settings, http, clock, database, start, end))
        matched = await match_bill(database, source.channels, bill, start, end)
    if json:
        print_json(_summary(channel, matched))
    else:
        _show(channel, matched)
    return 0 if matched.equal else 1


def _days(since: str | None, until: str | None, zone: tzinfo) -> tuple[datetime, datetime]:
    try:
        first = date.fromisoformat(since or "")
        after = date.fromisoformat(until) if until else first + timedelta(days=1)
    except (ValueError, OverflowError):
        raise InvalidRequest(
            "Give the bill's day as --since 2026-01-31; a bill of several days has --until, not included."
        ) from None
    if first >= after:
        raise InvalidRequest("The period ends before it begins; --until is not included.")
    if (after - first).days > _DAYS_MAX:
        raise InvalidRequest(f"At most {_DAYS_MAX} days at a time.")
    start, end = (datetime.combine(one, datetime.min.time(), zone) for one in (first, after))
    return start, end


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(BILL_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > BILL_BYTES_MAX:
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
        "sums": [
            {
                "currency": one.currency,
                "bill": one.bill,
                "clearingAccount": one.account,
                "ofOtherDays": one.of_other_days,
                "difference": one.difference,
            }
            for one in matched.sums
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
    for total in matched.sums:
        out.print(_total(total), soft_wrap=True)


def _total(total: Sum) -> str:
    bill, account, others, differ = (
        format_amount(amount, total.currency)
        for amount in (total.bill, total.account, total.of_other_days, total.difference)
    )
    elsewhere = f", of which {others} belong to other days" if total.of_other_days else ""
    both = f"The bill comes to {bill}, and the clearing account moved {account}{elsewhere}: "
    return both + (f"{differ} too much in the bill." if total.difference else "equal.")


def _row(one: Difference) -> Sequence[str]:
    key: Key = one.key
    return key.kind, key.number, one.how.value.replace("_", " "), _words(one.theirs), _words(one.ours)


def _words(entry: Entry | None) -> str:
    return "nothing" if entry is None else f"{format_amount(*entry[:2])} as {entry.transaction_id}"
