"""``paybell verify``: are the books of pay right, to the last row."""

import time
from typing import Annotated

from cyclopts import Parameter
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn
from rich.table import Table

from paybell.cli.output import err, out, print_json, say_how_many_more
from paybell.clock import SystemClock
from paybell.serving.databases import prepared
from paybell.settings import read_settings
from paybell.storage import READING, Database
from paybell.verification.ledger_check import LedgerFault, Progress
from paybell.verification.ledger_check import verify as check

# Rows a person is shown; programs are told all that are kept.
SHOWN_MAX = 50


async def verify(*, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Check ledger, pay orders, refunds, outbox and the chain over transfers; exit code 0 when all is right.

    Payments go on meanwhile: everything is read as it was when it began.

    Args:
        json: end with one JSON line.
    """
    started = time.monotonic()
    clock = SystemClock()
    async with (
        prepared(read_settings(), clock, ["pay"]) as urls,
        Database.open(urls["pay"], clock, connections=2, limits=READING) as database,
    ):
        with Bar(SpinnerColumn(), TextColumn("{task.description}"), console=err, transient=True) as bar:
            task = bar.add_task("Reading the books …")
            found = await check(database, lambda state: bar.update(task, description=_sentence(state)))
    if json:
        print_json(_summary(found, time.monotonic() - started))
    else:
        _show(found)
    return 1 if found.findings else 0


def _sentence(state: Progress) -> str:
    rows = ", ".join(f"{count:,} {table.replace('_', ' ')}" for table, count in state.rows.items())
    return f"{rows}: {state.kinds.total():,} wrong …"


def _summary(found: Progress, seconds: float) -> dict[str, object]:
    return {
        "ok": not found.findings,
        "transfers": found.rows["transfers"],
        "sealed": found.rows["sealed transfers"],
        "accounts": found.rows["accounts"],
        "payOrders": found.rows["pay_orders"],
        "refunds": found.rows["refunds"],
        "events": found.rows["outbox"],
        "seconds": round(seconds, 2),
        "kinds": found.kinds,
        "findings": [_members(one) for one in found.findings],
        "findingsLeftOut": found.kinds.total() - len(found.findings),
    }


def _members(one: LedgerFault) -> dict[str, object]:
    return {"table": one.table, "row": str(one.row), "what": one.what, "detail": one.detail}


def _show(found: Progress) -> None:
    if found.findings:
        table = Table("table", "row", "what", "detail")
        for one in found.findings[:SHOWN_MAX]:
            table.add_row(one.table, str(one.row), one.what.replace("_", " "), one.detail)
        out.print(table)
        say_how_many_more(found.kinds.total(), SHOWN_MAX, len(found.findings))
    out.print(_sentence(found).removesuffix(" …") + ".")
    if found.findings:
        out.print("Compare the rows with a backup; nothing here changes a book.")
