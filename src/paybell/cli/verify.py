"""``paybell verify``: are the books of pay right, to the last row."""

import time
from pathlib import Path

from rich.table import Table

from paybell.cli.options import Flag
from paybell.cli.output import going_on, out, print_json, say_how_many
from paybell.clock import SystemClock
from paybell.serving.databases import prepared
from paybell.settings import read_settings
from paybell.storage import READING, Database
from paybell.verification.anchors import note_anchor, read_anchors
from paybell.verification.ledger_check import LedgerFault, LedgerProgress
from paybell.verification.ledger_check import verify as check
from paybell.wallet.seal_keys import SealKeys

# Rows a person is shown; programs are told all that are kept.
SHOWN_MAX = 50


async def verify(*, anchor: Path | None = None, json: Flag = False) -> int:
    """Check ledger, pay orders, refunds, outbox and the chain over transfers; exit code 0 when all is right.

    Payments go on meanwhile: everything is read as it was when it began.

    Args:
        anchor: a file, out of the database owner's reach, of heads of the chain: each that it holds
            must still be in the chain, and the newest is added when all is right.
        json: end with one JSON line.
    """
    started = time.monotonic()
    clock, settings = SystemClock(), read_settings()
    keys = SealKeys(settings.seal_keys)
    noted = read_anchors(anchor) if anchor else ()
    async with (
        prepared(settings, clock, ["pay"]) as urls,
        Database.open(urls["pay"], clock, connections=2, limits=READING) as database,
    ):
        with going_on("Reading the books …") as say:
            found = await check(database, lambda state: say(f"{_sentence(state)} …"), keys, noted)
    if anchor and found.head and not found.findings and found.head not in noted:
        note_anchor(anchor, found.head)
    if json:
        print_json(_summary(found, time.monotonic() - started))
    else:
        _show(found, keys)
    return 1 if found.findings else 0


def _sentence(state: LedgerProgress) -> str:
    rows = ", ".join(f"{count:,} {table.replace('_', ' ')}" for table, count in state.rows.items())
    return f"{rows or 'The books are empty'}: {state.kinds.total():,} wrong"


def _chain(found: LedgerProgress, keys: SealKeys) -> str:
    if found.head is None:
        return "Nothing is sealed yet."
    if found.keyed_from is None:
        return "The chain is not keyed: set PAYBELL_SEAL_KEYS for the background role."
    checked = "" if keys else " Their MACs were not checked: PAYBELL_SEAL_KEYS is empty."
    return f"The chain is keyed from block {found.keyed_from} to {found.head.block}.{checked}"


def _summary(found: LedgerProgress, seconds: float) -> dict[str, object]:
    return {
        "ok": not found.findings,
        "transfers": found.rows["transfers"],
        "sealed": found.rows["sealed transfers"],
        "accounts": found.rows["accounts"],
        "payOrders": found.rows["pay_orders"],
        "refunds": found.rows["refunds"],
        "events": found.rows["outbox"],
        "keyedFrom": None if found.keyed_from is None else str(found.keyed_from),
        "head": None if found.head is None else str(found.head.block),
        "seconds": round(seconds, 2),
        "kinds": found.kinds,
        "findings": [_members(one) for one in found.findings],
        "findingsLeftOut": found.kinds.total() - len(found.findings),
    }


def _members(one: LedgerFault) -> dict[str, object]:
    return {"table": one.table, "row": str(one.row), "what": one.what, "detail": one.detail}


def _show(found: LedgerProgress, keys: SealKeys) -> None:
    if found.findings:
        table = Table("table", "row", "what", "detail")
        for one in found.findings[:SHOWN_MAX]:
            table.add_row(one.table, str(one.row), one.what.replace("_", " "), one.detail)
        out.print(table)
        say_how_many(found.kinds.total(), SHOWN_MAX, len(found.findings))
    out.print(f"{_sentence(found)}.")
    out.print(_chain(found, keys))
    if found.findings:
        out.print("Compare the rows with a backup; nothing here changes a book.")
