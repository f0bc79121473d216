"""``paybell reconcile``: do pay and trade say the same of every purchase, and if not, repair it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter, validators
from rich.table import Table

from paybell.channels.bill_sources import BillChannel
from paybell.cli.options import Flag
from paybell.cli.output import going_on, operator, out, print_json, say_how_many
from paybell.cli.reconcile_channel import match_channel
from paybell.cli.reconcile_file import match_file
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
from paybell.verification.bank_file import Kind
from paybell.wallet.statements import Period

# Rows a person is shown, and rows that are kept for programs; all are counted.
SHOWN_MAX, ROWS_MAX = 50, 10_000
HOURS_MAX = 1_000_000


async def reconcile(
    *,
    repair: Flag = False,
    hours: Annotated[float | None, Parameter(validator=validators.Number(gt=0, lte=HOURS_MAX))] = None,
    file: Path | None = None,
    channel: BillChannel | None = None,
    kind: Kind | None = None,
    since: str | None = None,
    until: str | None = None,
    json: Flag = False,
) -> int:
    """Compare pay orders with the order service's orders; exit code 0 when nothing differs any more.

    Args:
        repair: publish the events of what was not delivered again, and wait; a relay and a listener must run.
        hours: only pay orders made or changed in the last so many hours; with a file its period.
        file: instead match every line of a CSV (reference, amount in minor units, currency) of a bank's or an
            accountant's, and every transfer of its period, currencies and merchant. References are ids of
            pay orders or the merchant's order numbers (payment), ids of refunds (refund), a top-up's
            `reference` or its Idempotency-Key (top_up).
        channel: ask this channel for its own bill of a day (--since 2026-01-31: a day in Beijing, for stripe
            and balance, the remote wallet, in UTC), or take it from a file: Alipay's ZIP, or WeChat Pay's
            text, packed or not. Each row is matched with what we entered, and all together with the
            channel's clearing account.
        kind: what all lines of the file are; without it what its column `kind` says, as in our own CSV
            statements, and payments when it has none.
        since: where the file's period begins: a day, or a time such as 2026-01-31T12:00:00Z. Without a period
            it is the whole days (UTC) from the first transfer that a line matches to the last.
        until: where it ends, not included; without it now.
        json: end with one JSON line.
    """
    clock = SystemClock()
    if channel is not None:
        if repair or hours or kind:
            raise InvalidRequest("--channel goes with --file, --since and --until only.")
        return await match_channel(channel, file, since, until, clock, json=json)
    period = _period(clock, since, until, hours)
    if file is not None:
        if repair:
            raise InvalidRequest("--repair changes nothing of a file; run it without --file.")
        return await match_file(file, kind, period, clock, json=json)
    if since or until or kind:
        raise InvalidRequest("--since, --until and --kind are about a --file; without one there is --hours.")
    how = Repair(operator()) if repair else None
    found = list[Difference]()
    async with open_reconciler(clock) as reconciler:
        with going_on("Comparing …") as say:
            async for progress in reconciler.run(None if period is None else period.start, how):
                found += progress.batch[: ROWS_MAX - len(found)]
                say(_sentence(progress) + " …")
    if json:
        print_json(_summary(progress, found))
    else:
        _show(progress, found)
    return 1 if progress.differences > progress.repaired else 0


def _period(clock: Clock, since: str | None, until: str | None, hours: float | None) -> Period | None:
    if hours is not None:
        if since or until:
            raise InvalidRequest("Give the period as --hours, or as --since and --until.")
        try:
            return Period(clock.now() - timedelta(hours=hours), clock.now())
        except (OverflowError, ValueError):
            raise InvalidRequest(f"--hours {hours:g}: there are not so many.") from None
    if since is None:
        if until is not None:
            raise InvalidRequest("--until needs --since.")
        return None
    period = Period(moment("--since", since), clock.now() if until is None else moment("--until", until))
    if period.start >= period.end:
        raise InvalidRequest("The period ends before it begins; --until is not included.")
    return period


def moment(name: str, text: str) -> datetime:
    """Read a day, from its first moment in UTC, or a time of RFC 3339."""
    try:
        return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
    except ValueError:
        pass
    try:
        moment = msgspec.convert(text, datetime)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        pass
    raise InvalidRequest(
        f"{name} {text[:40]!r}: a day such as 2026-01-31, or a time such as 2026-01-31T12:00:00Z."
    )


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
        "rowsLeftOut": progress.differences - len(found),
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
        say_how_many(progress.differences, SHOWN_MAX, len(found))
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
