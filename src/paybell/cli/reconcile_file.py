"""``paybell reconcile --file``: somebody else's statement beside the ledger."""

from pathlib import Path

import msgspec
from rich.table import Table
from rich.text import Text

from paybell.cli.output import out, print_json, say_how_many
from paybell.clock import Clock, rfc3339
from paybell.errors import InvalidRequest
from paybell.serving.databases import prepared
from paybell.settings import read_settings
from paybell.storage import READING, Database
from paybell.verification.bank_file import Kind
from paybell.verification.bank_matching import Matched, match_statement
from paybell.verification.csv_lines import opened
from paybell.wallet.statements import Period

# Rows a person is shown; programs get all that are kept.
SHOWN_MAX = 50
_NAMES = {
    "payment": "payments",
    "refund": "refunds",
    "refund_failed": "refunds that came back",
    "top_up": "top-ups",
}


async def match_file(
    path: Path, kind: Kind | None, period: Period | None, clock: Clock, *, json: bool
) -> int:
    """Match a file and show what came of it; return the exit code, 0 when both sides agree to the last one.

    Raises:
        InvalidRequest: the file cannot be read, with the line and the reason.
    """
    settings = read_settings()
    with opened(path) as file:
        async with (
            prepared(settings, clock, ["pay"]) as urls,
            Database.open(urls["pay"], clock, connections=2, limits=READING) as database,
        ):
            try:
                result = await match_statement(database, file, settings.merchant_id, kind, period)
            except OSError as error:  # a folder, or a disk that fails
                raise InvalidRequest(f"{path} cannot be read: {error.strerror}.") from error
    if json:
        print_json(_summary(result))
    else:
        _show(result)
    return 1 if result.counts else 0


def _summary(result: Matched) -> dict[str, object]:
    period = result.period
    return {
        "merchant": result.merchant_id,
        "kinds": result.kinds,
        "currencies": result.currencies,
        "since": None if period is None else rfc3339(period.start),
        "until": None if period is None else rfc3339(period.end),
        "lines": result.lines,
        "matched": result.matched,
        "transfers": result.transfers,
        **result.counts,
        "rows": [msgspec.to_builtins(one) for one in result.mismatches],
        "rowsLeftOut": result.counts.total() - len(result.mismatches),
    }


def _show(result: Matched) -> None:
    if result.mismatches:
        table = Table("line", "reference", "what", "the file says", "we say")
        for one in result.mismatches[:SHOWN_MAX]:
            what = one.what.replace("_", " ")
            table.add_row(str(one.line or ""), Text(one.reference), what, Text(one.theirs), one.ours)
        out.print(table)
        say_how_many(result.counts.total(), SHOWN_MAX, len(result.mismatches))
    compared = ", ".join(result.currencies) + " " + " and ".join(_NAMES[kind] for kind in result.kinds)
    if result.period is None:
        when = "of no period, since no line is a transfer of ours"
    else:
        when = f"from {rfc3339(result.period.start)} to {rfc3339(result.period.end)} (not included)"
    of_whom = "" if result.kinds == ["top_up"] else f" of merchant {result.merchant_id}"
    out.print(f"Compared: {compared}{of_whom} {when}.", highlight=False, soft_wrap=True)
    wrong = result.lines - result.matched
    out.print(
        f"{result.lines:,} lines, {result.matched:,} matched, {wrong:,} not; {result.transfers:,} transfers, "
        f"{result.counts['missing_there']:,} without a line."
    )
