"""``paybell demo``: real orders, paid out of real wallets, marked paid by a service that is notified."""

import asyncio
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from paybell_client import PayOrder, Problem, WalletExists
from rich.box import SIMPLE_HEAD
from rich.progress import Progress
from rich.table import Table

from paybell.cli.callers import Callers, callers
from paybell.cli.demo_channels import demo_channels
from paybell.cli.demo_plan import (
    CANCELLED,
    CASES,
    FOREIGN,
    PAID,
    POOR,
    POOR_BALANCE,
    PRICE_MAX,
    STRANGER,
    TWICE,
    WRONG,
    DemoOrder,
    DemoResult,
    plan,
)
from paybell.cli.demo_setup import Broker, demo_broker, demo_home
from paybell.cli.demo_sides import Side, demo_side
from paybell.cli.links import show_links
from paybell.cli.options import Flag
from paybell.cli.output import announce, out, print_json
from paybell.cli.workload import for_each, progress, wait_for_statuses
from paybell.clock import Clock, SystemClock
from paybell.serving.child import running_service
from paybell.serving.databases import databases
from paybell.settings import read_settings
from paybell.settings.secrets import with_secrets
from paybell.telemetry.percentiles import percentile
from paybell.tokens import Tokens
from paybell.verification.audit import Audit, audit

PAY_PASSWORD, WRONG_PASSWORD = "123456", "654321"
# Enough at once for payments to share transactions, few enough for a lone one's time to be seen.
CONCURRENCY = 32


async def demo(
    *,
    orders: Annotated[int, Parameter(validator=Number(gte=1, lte=100_000))] = 200,
    buyers: Annotated[int, Parameter(validator=Number(gte=1, lte=10_000))] = 20,
    broker: Broker = "local",
    side: Side | None = None,
    channels: Flag = False,
    open_: Annotated[bool, Parameter(name="--open", negative="")] = False,
    yes: Flag = False,
    json: Flag = False,
) -> int:
    """Show orders being paid, from creating them to the order service that is notified by message.

    Starts the whole service on an embedded PostgreSQL in a temporary folder, opens and funds wallets,
    creates and pays orders over HTTP at the same time, most of them well and some of them badly, waits
    until the order service shows each outcome, and reads the result from the two databases.

    Args:
        orders: how many orders.
        buyers: how many wallets they are paid from.
        broker: local (in process), or rabbitmq (a private one is started).
        side: pay or trade: Paybell is this side only, over RabbitMQ, beside an order service or a pay service
            as a shop has one already; --buyers, --broker and --open are of no account.
        channels: orders are paid by balance, remote wallet, Alipay, WeChat Pay and card over simulators, at
            two installations, as one has balances of its own or a remote wallet; a third of the orders
            meets a fault, and both sides' books are compared. Only --orders and --json go with it.
        open_: leave the service running until Ctrl-C, and show links to the console and to an order to pay.
        yes: install RabbitMQ without asking if it is missing and this is root's Debian; without it, a
            question is asked on a terminal.
        json: end with one JSON line.
    """
    if channels:
        return await demo_channels(orders, json=json)
    if side:
        return await demo_side(side, orders, yes=yes, json=json)
    clock = SystemClock()
    started = clock.monotonic()
    with demo_home() as home, demo_broker(broker, yes=yes) as broker_url:
        settings = with_secrets(read_settings({}, home=home, broker_url=broker_url))
        announce(f"Starting Paybell with an embedded PostgreSQL and the {broker} broker.")
        async with running_service(settings, clock) as service:
            tokens = Tokens.from_settings(settings, clock)
            async with callers(service.url, tokens, clock, connections=CONCURRENCY * 2) as calling:
                outcome = DemoResult(plan(orders, buyers, clock))
                with progress(quiet=json) as bars:
                    await _Play(calling, clock, outcome, bars).run()
            with databases(settings) as urls:
                books = await audit(urls, settings.merchant_id, clock)
            outcome.first_paid_seconds = outcome.first_paid - service.started
            _report(outcome, books, broker, clock.monotonic() - started, json=json)
            if open_:
                await show_links(service.url, settings, clock)
                announce("Press Ctrl-C to end it.")
                await _interrupted()
    return 0 if outcome.is_expected(books) else 1


async def _interrupted() -> None:
    loop, interrupted = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGINT, interrupted.set)
    await interrupted.wait()
    loop.remove_signal_handler(signal.SIGINT)


class _Play:
    """Plays the orders against the service."""

    def __init__(self, calling: Callers, clock: Clock, outcome: DemoResult, bars: Progress) -> None:
        self._calling = calling
        self._shop = calling.shop
        self._clock = clock
        self._outcome = outcome
        self._bars = bars
        self._acts: dict[str, Callable[[DemoOrder, str], Awaitable[object]]] = {
            TWICE.title: self._pay_twice,
            WRONG.title: self._pay_with_wrong_password,
            FOREIGN.title: self._pay_as_stranger,
            CANCELLED.title: self._cancel_and_pay,
        }

    async def run(self) -> None:
        orders, bars = self._outcome.orders, self._bars
        balances = Counter({POOR: POOR_BALANCE, STRANGER: PRICE_MAX})
        for order in orders:
            if order.case.status == "PAID":
                balances[order.buyer] += order.price
        self._bar = bars.add_task("funding wallets", total=len(balances))
        await for_each(balances.items(), self._fund, concurrency=CONCURRENCY)
        self._bar = bars.add_task("paying orders", total=len(orders))
        await for_each(orders, self._play, concurrency=CONCURRENCY)
        self._bar = bars.add_task("seen in trade", total=len(orders))
        expected = {order.id: {order.case.status} for order in orders}
        self._outcome.missing = await wait_for_statuses(self._shop, expected, self._clock, self._advance)

    def _advance(self, count: int = 1) -> None:
        self._bars.advance(self._bar, count)

    async def _fund(self, wallet: tuple[str, int]) -> None:
        buyer, balance = wallet
        with suppress(WalletExists):  # the answer of a first try was lost
            await self._shop.open_wallet(buyer, PAY_PASSWORD)
        await self._shop.top_up(buyer, balance, idempotency_key=f"demo-{buyer}")
        self._advance()

    async def _play(self, order: DemoOrder) -> None:
        subject = f"demo: {order.case.title}"
        act = self._acts.get(order.case.title, self._pay)
        try:
            made = await self._shop.create_order(order.buyer, order.price, subject=subject, order_id=order.id)
            await act(order, str(made.pay_order_id))
        except Problem as refused:
            order.answers.append(refused.code)
        self._advance()

    async def _pay(
        self, order: DemoOrder, pay_order: str, *, user: str = "", password: str = ""
    ) -> PayOrder | None:
        """Note what is answered; return what was paid."""
        sent = self._clock.monotonic()
        try:
            paid = await self._calling.buyer(user or order.buyer).pay(pay_order, password or PAY_PASSWORD)
        except Problem as refused:
            order.answers.append(refused.code)
            return None
        now = self._clock.monotonic()
        self._outcome.latencies.append(now - sent)
        self._outcome.first_paid = min(self._outcome.first_paid, now)
        order.answers.append(PAID)
        return paid

    async def _pay_twice(self, order: DemoOrder, pay_order: str) -> None:
        one, other = await asyncio.gather(self._pay(order, pay_order), self._pay(order, pay_order))
        if one != other:  # paying again answers the same
            order.answers.append("different_answers")

    async def _pay_with_wrong_password(self, order: DemoOrder, pay_order: str) -> None:
        await self._pay(order, pay_order, password=WRONG_PASSWORD)
        await self._pay(order, pay_order)

    async def _pay_as_stranger(self, order: DemoOrder, pay_order: str) -> None:
        await self._pay(order, pay_order, user=STRANGER)

    async def _cancel_and_pay(self, order: DemoOrder, pay_order: str) -> None:
        await self._calling.buyer(order.buyer).cancel_order(order.id)
        await self._pay(order, pay_order)


def _report(outcome: DemoResult, books: Audit, broker: Broker, seconds: float, *, json: bool) -> None:
    p50, p99 = (round((percentile(outcome.latencies, share) or 0.0) * 1000, 1) for share in (0.5, 0.99))
    first = round(outcome.first_paid_seconds, 2) if outcome.latencies else None
    if json:
        print_json(
            {
                "orders": len(outcome.orders),
                "paid": books.paid,
                "refused": outcome.refused(),
                "markedPaid": books.marked_paid,
                "lost": books.lost,
                "duplicated": books.duplicated,
                "ledgerBalanced": books.ledger_balanced,
                "broker": broker,
                "seconds": round(seconds, 2),
                "p50Ms": p50,
                "p99Ms": p99,
                "firstPaidSeconds": first,
            }
        )
        return
    table = Table("what was tried", "orders", "answered", "order is", "right", box=SIMPLE_HEAD)
    for case in CASES:
        count, right = len(outcome.of(case)), outcome.as_expected(case)
        verdict = "all" if right == count else f"[red]{right} of {count}[/]"
        table.add_row(case.title, str(count), ", ".join(case.answers), case.status, verdict)
    out.print(table)
    balanced = "balance" if books.ledger_balanced else "DO NOT BALANCE"
    out.print(
        f"{books.paid} paid, {books.marked_paid} marked paid by the order service over the {broker} broker; "
        f"{books.lost} lost, {books.duplicated} duplicated; the books {balanced}.\n"
        f"From click to paid {p50} ms (p50), {p99} ms (p99); first order paid {first} s after the process "
        f"started; {seconds:.1f} s in all.",
        highlight=False,
    )
