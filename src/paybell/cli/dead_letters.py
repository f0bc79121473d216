"""``paybell dead-letters``: look at what could not be applied, and try it again."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from json import dumps
from typing import Annotated

import cyclopts
from cyclopts import Parameter, validators
from rich.table import Table
from rich.text import Text

from paybell.cli.options import Flag
from paybell.cli.output import EXIT_USAGE, fail, operator, out, print_json
from paybell.clock import SystemClock, rfc3339
from paybell.errors import InvalidRequest, Misconfigured
from paybell.ids import ID_MAX
from paybell.messaging.failures import Chosen, FailedDelivery, FailureState, FailureStore
from paybell.messaging.tables import SCHEMA as LISTENERS
from paybell.serving.databases import prepared, unusable
from paybell.settings import read_settings
from paybell.storage import Database
from paybell.storage.migrate import revision

dead_letters = cyclopts.App(name="dead-letters", help="Messages no listener could apply.")

RowId = Annotated[
    int, Parameter(validator=validators.Number(gte=1, lte=ID_MAX), help="its number in the list.")
]
RowIds = Annotated[RowId, Parameter(help="their numbers in the list.")]
Most = Annotated[
    int, Parameter(validator=validators.Number(gte=1, lte=100_000), help="how many rows at most.")
]
State = Annotated[
    FailureState,
    Parameter(help="dead (waits for you), retry (tried again by itself) or acknowledged (given up)."),
]
OnlyReason = Annotated[
    str | None, Parameter(help="only those with this reason, such as not_paid or unreadable.")
]
Reason = Annotated[str | None, Parameter(help="all with this reason.")]
All = Annotated[Flag, Parameter(name="--all", help="all of them.")]
Listeners = Annotated[str, Parameter(help="URL of a database of your own listeners, instead of trade's.")]
Json = Annotated[Flag, Parameter(help="end with one JSON line.")]
JsonWithBody = Annotated[Json, Parameter(help="end with one JSON line; the body is base64 then.")]


@asynccontextmanager
async def _failures(listeners: str) -> AsyncIterator[FailureStore]:
    """Open those of trade, or of a database with listeners of somebody's own."""
    clock = SystemClock()
    if listeners:
        found = await revision(listeners, LISTENERS)
        if not found.usable:
            raise Misconfigured(f"{unusable(LISTENERS, found).removesuffix('.')} --listeners URL.")
        async with Database.open(listeners, clock, connections=2) as database:
            yield FailureStore(database)
        return
    async with (
        prepared(read_settings(), clock, ["trade"]) as urls,
        Database.open(urls["trade"], clock, connections=2) as database,
    ):
        yield FailureStore(database)


@dead_letters.command(name="list")
async def list_(
    *,
    state: State = "dead",
    reason: OnlyReason = None,
    most: Most = 50,
    listeners: Listeners = "",
    json: Json = False,
) -> int:
    """List messages that could not be applied, oldest first."""
    async with _failures(listeners) as store:
        found = await store.list(Chosen(reason=reason), state=state, limit=most)
        total = len(found)
        if total == most:
            total = await store.count(Chosen(reason=reason), state=state)
    if json:
        print_json([_members(one) for one in found])
        return 0
    table = Table("id", "listener", "event", "reason", "attempts", "received", "last failed")
    for one in found:
        cells = (one.id, one.listener, one.event_id, one.reason, one.attempts, one.received)
        table.add_row(*map(_plain, cells), rfc3339(one.last_failed_at))
    out.print(table if found else f"None is {state}.")
    if total > len(found):
        out.print(f"{len(found):,} of {total:,}; --most shows more.")
    return 0


@dead_letters.command
async def show(row_id: RowId, /, *, listeners: Listeners = "", json: JsonWithBody = False) -> int:
    """Show one message with its error, headers and body."""
    async with _failures(listeners) as store:
        found = await store.find(row_id)
    if found is None:
        raise InvalidRequest(f"There is no failed delivery {row_id}; see paybell dead-letters list.")
    if json:
        print_json(_members(found))
        return 0
    table = Table("field", "value", show_header=False)
    for name, value in (asdict(found) | {"headers": dumps(found.headers, ensure_ascii=False)}).items():
        table.add_row(name.replace("_", " "), _plain(value))
    out.print(table)
    return 0


@dead_letters.command
async def replay(
    *row_ids: RowIds,
    reason: Reason = None,
    all_: All = False,
    listeners: Listeners = "",
    json: Json = False,
) -> int:
    """Redeliver dead messages to their listener, with the same event ids.

    Exit code 1 when one of the numbers could not be.
    """
    replayed = await _act(FailureStore.replay, row_ids, reason, all_, listeners)
    if json:
        print_json({"replayed": replayed})
    else:
        out.print(f"{replayed} handed to their listeners; see paybell dead-letters list --state retry.")
    return _say_left(row_ids, replayed)


@dead_letters.command
async def acknowledge(
    *row_ids: RowIds,
    reason: Reason = None,
    all_: All = False,
    listeners: Listeners = "",
    json: Json = False,
) -> int:
    """Give dead messages up: they count no more, and are removed after PAYBELL_DEAD_LETTER_DAYS.

    Until then `replay` by number still takes them back. Exit code 1 when one of the numbers could not be.
    """
    acknowledged = await _act(FailureStore.acknowledge, row_ids, reason, all_, listeners)
    if json:
        print_json({"acknowledged": acknowledged})
    else:
        out.print(f"{acknowledged} given up; see paybell dead-letters list --state acknowledged.")
    return _say_left(row_ids, acknowledged)


async def _act(
    deed: Callable[[FailureStore, Chosen, str], Awaitable[int]],
    row_ids: Sequence[int],
    reason: str | None,
    all_: bool,
    listeners: str,
) -> int:
    """Do it to all that are chosen; return how many that were."""
    if not (row_ids or reason or all_):
        fail("Say which: row ids, --reason or --all.")
        raise SystemExit(EXIT_USAGE)
    done = 0
    chosen = Chosen(ids=row_ids or None, reason=reason, until=SystemClock().now())
    async with _failures(listeners) as store:
        while count := await deed(store, chosen, operator()):
            done += count
    return done


def _say_left(row_ids: Sequence[int], done: int) -> int:
    """Say how many of the numbers given were left as they are; return the exit code."""
    if left := max(0, len(set(row_ids)) - done):
        fail(f"{left} left as they are: paybell dead-letters show ID says whether there is such a one.")
    return 1 if left else 0


def _members(failure: FailedDelivery) -> dict[str, object]:
    """Return a failure under names as everywhere in our JSON."""
    return {_camel(name): value for name, value in asdict(failure).items()}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


def _plain(value: object) -> Text:
    """Write a stranger's text so that it does nothing to a terminal."""
    return Text("".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(value)))
