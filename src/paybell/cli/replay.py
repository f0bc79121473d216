"""``paybell replay``: pays a purchase log, however often it has to be started."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.markup import escape
from rich.table import Table

from paybell.cli.callers import callers
from paybell.cli.log_replay import EXPIRED, PAY_PASSWORD, REPLAYER, LogReplay, Replayer
from paybell.cli.options import Flag
from paybell.cli.output import announce, out, print_json
from paybell.cli.workload import progress
from paybell.clock import Clock, SystemClock
from paybell.errors import PaybellError
from paybell.serving.child import running_service
from paybell.serving.databases import databases
from paybell.settings import Settings, read_settings
from paybell.settings.secrets import with_secrets
from paybell.storage import Database
from paybell.tokens import Tokens
from paybell.verification.audit import Audit, audit
from paybell.wallet.pay_password import Pepper
from paybell.wallet.service import WalletService

CONCURRENCY_MAX = 512


async def replay(
    file: Path,
    /,
    *,
    url: str | None = None,
    concurrency: Annotated[int, Parameter(validator=Number(gte=1, lte=CONCURRENCY_MAX))] = 64,
    patience: Annotated[float, Parameter(validator=Number(gte=0, lte=3600))] = 20.0,
    json: Flag = False,
) -> int:
    """Pay a purchase log (CSV: biz_order_no,user_id,amount,currency,subject,purchased_on).

    Creates every order over HTTP, opens its wallet with the pay password 123456, puts the order's money in
    when it is known to be payable, pays it, waits until the order service has marked all, and reads the
    result from the databases. Rows that cannot be paid are listed and stop nobody; a wallet that no
    replay has opened is neither funded nor tried. The money of an order comes once, so a file that is
    corrected or has grown is just replayed again, and so is one whose replay was interrupted, within 30 days.
    Exit code 1 also when nothing was paid, when an order's time is over, or money stayed in a wallet.

    Args:
        file: the log; amounts in minor units.
        url: of a running service that shares our settings; without one it is started on PAYBELL_HOME.
        concurrency: how many orders are paid at the same time.
        patience: seconds to go on without an answer of the service before giving up.
        json: end with one JSON line.
    """
    clock = SystemClock()
    started = clock.monotonic()
    work = LogReplay(file)
    work.survey()
    settings = with_secrets(read_settings())
    async with _service(settings, url, clock) as base_url:
        opened = callers(
            base_url,
            Tokens.from_settings(settings, clock),
            clock,
            connections=concurrency,
            retry_seconds=patience,
            shop=REPLAYER,
        )
        with databases(settings) as urls:
            async with opened as calling, Database.open(urls["pay"], clock, connections=2) as pay:
                wallets = WalletService(pay, Pepper(settings.pin_pepper))
                find = partial(wallets.opened_with, REPLAYER, PAY_PASSWORD)
                with progress(quiet=json) as bars:
                    await Replayer(work, calling, find, clock=clock, bars=bars, concurrency=concurrency).run()
            books = await audit(urls, settings.merchant_id, clock, list(work.payable))
    _report(work, books, clock.monotonic() - started, json=json)
    return 0 if _as_expected(work, books) else 1


@asynccontextmanager
async def _service(settings: Settings, url: str | None, clock: Clock) -> AsyncIterator[str]:
    if url is not None:
        yield url
        return
    announce(f"Starting a service on {settings.home}; its log is {settings.home / 'service.log'}.")
    async with running_service(settings, clock) as service:
        yield service.url


def _as_expected(work: LogReplay, books: Audit) -> bool:
    expected = len(work.payable), len(work.payable), sum(work.payable.values())
    found = books.paid, books.marked_paid, books.debited
    if not books.clean or found != expected or work.left or (work.rows and not work.payable):
        return False
    # A refusal is an answer; an error of the service is a row that nobody has answered for.
    return not work.reasons.keys() & {PaybellError.code, *EXPIRED}


def _report(work: LogReplay, books: Audit, seconds: float, *, json: bool) -> None:
    if json:
        print_json(
            {
                "orders": work.rows,
                "paid": books.paid,
                "markedPaid": books.marked_paid,
                "refused": dict(work.reasons),
                "debited": books.debited,
                "lost": books.lost,
                "duplicated": books.duplicated,
                "ledgerBalanced": books.ledger_balanced,
                "seconds": round(seconds, 3),
                "leftInWallets": work.left,
                "refusedRows": work.listed,
            }
        )
        return
    for row in work.listed:
        out.print(f"line {row.line}: {row.reason} ({escape(row.detail)})", highlight=False)
    if work.reasons.total() > len(work.listed):
        out.print(f"{len(work.listed):,} of {work.reasons.total():,} rows that were not paid.")
    table = Table(str(work.path), "", show_header=True)
    lines: dict[str, object] = {
        "orders in the file": work.rows,
        "paid": books.paid,
        "marked paid by the order service": books.marked_paid,
        **{f"refused: {reason}": count for reason, count in work.reasons.most_common()},
        "debited, in minor units": books.debited,
        "left in wallets, in minor units": work.left,
        "paid and never notified (lost)": books.lost,
        "paid or applied twice": books.duplicated,
    }
    for name, value in lines.items():
        table.add_row(name, f"{value:,}")
    table.add_row("ledger balanced", "yes" if books.ledger_balanced else "NO")
    table.add_row("seconds", f"{seconds:.1f}")
    out.print(table)
