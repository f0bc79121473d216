"""``paybell replay``: pays a purchase log, however often it has to be started."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from paybell.cli.client import PaybellClient
from paybell.cli.output import announce, out, print_json
from paybell.cli.purchase_log import PayableRow, RefusedRow, fingerprint, read_purchases
from paybell.cli.workload import chunks, for_each, progress, wait_for_statuses
from paybell.clock import Clock, SystemClock
from paybell.errors import PaybellError
from paybell.money import AMOUNT_MAX
from paybell.serving.child import running_service
from paybell.serving.databases import databases
from paybell.settings import Settings, read_settings
from paybell.settings.secrets import with_secrets
from paybell.tokens import Tokens
from paybell.trade.errors import OrderCancelled
from paybell.verification.audit import Audit, audit

# The pay password of every wallet a replay opens: the log has none, and it is not a secret.
PAY_PASSWORD = "123456"  # noqa: S105
# Rows that are listed one by one; the counts by reason know no such bound.
LISTED_MAX = 200
CONCURRENCY_MAX = 512


@dataclass(slots=True)
class LogReplay:
    """What a file comes to, and how far it has got; amounts in minor units."""

    path: Path
    rows: int = 0
    owed: Counter[tuple[str, str]] = field(default_factory=Counter)
    payable: dict[int, int] = field(default_factory=dict)
    paid_before: set[int] = field(default_factory=set)
    unfunded: set[tuple[str, str]] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    listed: list[RefusedRow] = field(default_factory=list)

    def survey(self) -> None:
        """Read the file once: what is payable, how much each wallet needs, what is refused."""
        for row in read_purchases(self.path):
            self.rows += 1
            if isinstance(row, RefusedRow):
                self.refuse(row)
            else:
                self.owed[row.wallet] += row.amount
                self.payable[row.order_id] = row.amount

    def refuse(self, row: RefusedRow) -> None:
        """Count a row that is not paid, and list it if the list is not full."""
        self.reasons[row.reason] += 1
        if len(self.listed) < LISTED_MAX:
            self.listed.append(row)

    def purchases(self) -> Iterator[PayableRow]:
        """Read the payable rows again."""
        return (row for row in read_purchases(self.path) if isinstance(row, PayableRow))


async def replay(
    file: Path,
    /,
    *,
    url: str | None = None,
    concurrency: Annotated[int, Parameter(validator=Number(gte=1, lte=CONCURRENCY_MAX))] = 64,
    patience: Annotated[float, Parameter(validator=Number(gte=0, lte=3600))] = 20.0,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Pay a purchase log (CSV: biz_order_no,user_id,amount,currency,subject,purchased_on).

    Opens the wallets it needs with the pay password 123456, puts exactly the sum of their rows into
    each, creates and pays every order over HTTP, waits until the order service has marked them, and
    reads the result from the databases. Rows that cannot be paid are listed and stop nobody. The same
    file again changes nothing, so after an interruption just start it again.

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
        opened = PaybellClient.open(
            base_url,
            Tokens.from_settings(settings, clock),
            clock,
            connections=concurrency,
            patience_seconds=patience,
        )
        async with opened as client:
            with progress(quiet=json) as bars:
                await _Run(work, client, bars, concurrency).run(clock)
        with databases(settings) as urls:
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


class _Run:
    """The steps of a replay, each over the whole file."""

    def __init__(self, work: LogReplay, client: PaybellClient, bars: Progress, concurrency: int) -> None:
        self._work = work
        self._client = client
        self._bars = bars
        self._concurrency = concurrency
        self._key = f"replay-{fingerprint(work.path)}"

    async def run(self, clock: Clock) -> None:
        work, bars = self._work, self._bars
        self._bar = bars.add_task("looking for paid orders", total=len(work.payable))
        await for_each(chunks(work.purchases()), self._look, concurrency=4)
        self._bar = bars.add_task("funding wallets", total=len(work.unfunded))
        await for_each(list(work.unfunded), self._fund, concurrency=self._concurrency)
        self._bar = bars.add_task("paying orders", total=len(work.payable), completed=len(work.paid_before))
        unpaid = (row for row in work.purchases() if row.order_id not in work.paid_before)
        await for_each(unpaid, self._pay, concurrency=self._concurrency)
        self._bar = bars.add_task("marked by trade", total=len(work.payable))
        await wait_for_statuses(self._client, dict.fromkeys(work.payable, "PAID"), clock, self._advance)

    def _advance(self, count: int = 1) -> None:
        self._bars.advance(self._bar, count)

    async def _look(self, rows: list[PayableRow]) -> None:
        """Find the orders an earlier run has paid, and the wallets the others need."""
        orders = {order["id"]: order for order in await self._client.read_orders([r.order_id for r in rows])}
        for row in rows:
            order = orders.get(str(row.order_id), {})
            agrees = (order.get("buyerId"), order.get("totalFee"), order.get("currency")) == (
                row.user_id,
                row.amount,
                row.currency,
            )
            if agrees and order["status"] == "PAID":
                self._work.paid_before.add(row.order_id)
            else:
                self._work.unfunded.add(row.wallet)
        self._advance(len(rows))

    async def _fund(self, wallet: tuple[str, str]) -> None:
        """Open a wallet and put in what this file needs of it; whatever is refused shows when paying.

        The key is the same for the same file, so that the money comes once however often this runs.
        """
        user_id, currency = wallet
        await self._client.open_wallet(user_id, PAY_PASSWORD, currency)
        owed, part = self._work.owed[wallet], 0
        while owed > 0:  # one top-up has a limit, and hardly a user ever reaches it
            part += 1
            amount = min(owed, AMOUNT_MAX)
            await self._client.top_up(user_id, amount, currency, f"{self._key}-{part}-{user_id}-{currency}")
            owed -= amount
        self._advance()

    async def _pay(self, row: PayableRow) -> None:
        created = await self._client.create_order(
            row.order_id, row.user_id, row.amount, row.currency, row.subject
        )
        answer = created
        if created.ok and created.body["status"] == "UNPAID":
            answer = await self._client.pay(created.body["payOrderId"], row.user_id, PAY_PASSWORD)
        cancelled = created.ok and created.body["status"] == "CANCELLED"
        if cancelled or not answer.ok:
            del self._work.payable[row.order_id]
            code = OrderCancelled.code if cancelled else answer.code
            self._work.refuse(RefusedRow(row.line, code, str(answer.body.get("detail", ""))))
        self._advance()


def _as_expected(work: LogReplay, books: Audit) -> bool:
    expected = len(work.payable), len(work.payable), sum(work.payable.values())
    found = books.paid, books.marked_paid, books.debited
    # A refusal is an answer; an error of the service is a row that nobody has answered for.
    return books.clean and found == expected and PaybellError.code not in work.reasons


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
                "refusedRows": work.listed,
            }
        )
        return
    for row in work.listed:
        out.print(f"line {row.line}: {row.reason} ({escape(row.detail)})", highlight=False)
    if work.reasons.total() > len(work.listed):
        out.print(f"… and {work.reasons.total() - len(work.listed):,} more rows that were not paid.")
    table = Table(str(work.path), "", show_header=True)
    lines: dict[str, object] = {
        "orders in the file": work.rows,
        "paid": books.paid,
        "marked paid by the order service": books.marked_paid,
        **{f"refused: {reason}": count for reason, count in work.reasons.most_common()},
        "debited, in minor units": books.debited,
        "paid and never notified (lost)": books.lost,
        "paid or applied twice": books.duplicated,
    }
    for name, value in lines.items():
        table.add_row(name, f"{value:,}")
    table.add_row("ledger balanced", "yes" if books.ledger_balanced else "NO")
    table.add_row("seconds", f"{seconds:.1f}")
    out.print(table)
