"""``paybell reconcile``: do pay and trade say the same of every purchase, and if not, repair it."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter, validators
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from paybell.cli.output import err, operator, out, print_json
from paybell.clock import Clock, SystemClock
from paybell.errors import InvalidRequest
from paybell.messaging.outbox import Outbox
from paybell.reconciliation.acknowledgements import Acknowledgements
from paybell.reconciliation.differences import Difference
from paybell.reconciliation.entries import Entry
from paybell.reconciliation.pay_books import PayBooks
from paybell.reconciliation.reconciler import Progress, Reconciler, Repair
from paybell.reconciliation.trade_books import TradeBooks
from paybell.serving.databases import prepared
from paybell.settings import read_settings
from paybell.storage import READING, Database
from paybell.verification.bank_file import Kind, match_statement

# Rows a person is shown; programs get them all.
SHOWN_MAX = 50


async def reconcile(
    *,
    repair: Annotated[bool, Parameter(negative="")] = False,
    hours: Annotated[float | None, Parameter(validator=validators.Number(gt=0))] = None,
    file: Path | None = None,
    kind: Kind = "payment",
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Compare pay orders with the order service's orders; exit code 0 when nothing differs any more.

    Args:
        repair: publish the events of what was not delivered again, and wait; a relay and a listener must run.
        hours: only pay orders made in the last so many hours.
        file: instead match a CSV (reference, amount in minor units, currency) of a bank's or an accountant's
            against the ledger; references are ids of pay orders (payment) or refunds (refund), or what
            `paybell verify` shows of a top-up.
        kind: which transfers the file is about.
        json: end with one JSON line.
    """
    if file is not None:
        return await _match_file(file, kind, json=json)
    clock = SystemClock()
    since = None if hours is None else clock.now() - timedelta(hours=hours)
    how = Repair(operator()) if repair else None
    found = list[Difference]()
    async with open_reconciler(clock) as reconciler:
        with Bar(SpinnerColumn(), TextColumn("{task.description}"), console=err, transient=True) as bar:
            task = bar.add_task("Comparing …")
            async for progress in reconciler.run(since, how):
                found += progress.batch
                bar.update(task, description=_sentence(progress) + " …")
    if json:
        print_json(_summary(progress, found))
    else:
        _show(progress, found)
    return 1 if progress.differences > progress.repaired else 0


@asynccontextmanager
async def open_reconciler(clock: Clock) -> AsyncIterator[Reconciler]:
    """Yield what compares and republishes, on the databases of the settings."""
    settings = read_settings()
    async with (
        prepared(settings, clock) as urls,
        Database.open(urls["pay"], clock, connections=2, limits=READING) as pay,
        Database.open(urls["trade"], clock, connections=2, limits=READING) as trade,
    ):
        yield Reconciler(
            PayBooks(pay, Outbox(pay), settings.merchant_id),
            TradeBooks(trade),
            Acknowledgements(pay, settings.merchant_id),
            clock,
        )


def _sentence(progress: Progress) -> str:
    compared, differ = progress.compared.pay_orders, progress.differences
    acknowledged = f", {progress.acknowledged:,} acknowledged" if progress.acknowledged else ""
    return (
        f"{compared:,} pay orders compared, {differ:,} differ, {progress.repaired:,} repaired{acknowledged}"
    )


def _summary(progress: Progress, found: Sequence[Difference]) -> dict[str, object]:
    return {
        "differences": progress.differences,
        "repaired": progress.repaired,
        "acknowledged": progress.acknowledged,
        "payOrders": progress.compared.pay_orders,
        "buckets": progress.compared.buckets,
        "waiting": progress.compared.waiting,
        "kinds": progress.kinds,
        "rows": [_row(one) for one in found],
    }


def _row(one: Difference) -> dict[str, object]:
    both = {"pay": _side(one.pay), "trade": _side(one.trade)}
    return {"order": str(one.number), "kind": one.kind.value, **both}


def _side(entry: Entry | None) -> dict[str, object] | None:
    if entry is None:
        return None
    return {
        "payOrderId": None if entry.pay_order_id is None else str(entry.pay_order_id),
        "userId": entry.user_id,
        "amount": entry.amount,
        "refunded": entry.refunded,
        "currency": entry.currency,
        "status": entry.status,
    }


def _show(progress: Progress, found: Sequence[Difference]) -> None:
    if found:
        table = Table("order", "what", "pay says", "trade says")
        for one in found[:SHOWN_MAX]:
            table.add_row(
                str(one.number), one.kind.value.replace("_", " "), _words(one.pay), _words(one.trade)
            )
        out.print(table)
        if len(found) > SHOWN_MAX:
            out.print(f"… and {len(found) - SHOWN_MAX:,} more; see --json.")
    out.print(_sentence(progress) + ".")
    if progress.differences > progress.repaired:
        out.print(
            "Run it with --repair while a relay and a listener run; what stays needs a person, who may "
            "let it stand: paybell acknowledge."
        )


def _words(entry: Entry | None) -> str:
    if entry is None:
        return "nothing"
    return f"{entry.status} {entry.amount - entry.refunded} {entry.currency} of {entry.user_id}"


async def _match_file(file: Path, kind: Kind, *, json: bool) -> int:
    clock = SystemClock()
    async with (
        prepared(read_settings(), clock, ["pay"]) as urls,
        Database.open(urls["pay"], clock, connections=2, limits=READING) as database,
    ):
        result = await match_statement(database, _lines_of(file), kind)
    if json:
        rows = [msgspec.to_builtins(one) for one in result.mismatches]
        print_json({"lines": result.lines, "matched": result.matched, **result.counts, "rows": rows})
    else:
        table = Table("line", "reference", "what", "the file says", "we say")
        for one in result.mismatches[:SHOWN_MAX]:
            what = one.what.replace("_", " ")
            table.add_row(str(one.line or ""), Text(one.reference), what, Text(one.theirs), one.ours)
        if result.mismatches:
            out.print(table)
        out.print(f"{result.lines:,} lines, {result.matched:,} matched, {result.counts.total():,} not.")
    return 1 if result.mismatches else 0


def _lines_of(file: Path) -> Iterator[str]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            yield from lines
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidRequest(f"{file} cannot be read: {reason}.") from error
