"""The judge: reads the two databases and the clients' journals, and nothing else."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from paybell.channels.standing import standing
from paybell.cli.demo_books import Books, Judged, judged
from paybell.clock import Clock
from paybell.messaging.events import PAY_SUCCESS
from paybell.pay.status import PayStatus
from paybell.storage import Database, Record, load_queries
from paybell.verification.ledger_check import trial_balance
from torture.client import TRY_AGAIN, Entry, read_journals

_SQL = load_queries(__package__)
BooksOfChannels = Callable[[], Awaitable[Mapping[str, Books]]]
_POLL_SECONDS = 0.2
# Everything is whole again; what does not move for this long is stuck. Retries wait 5 s, then 30 s.
_STALL_SECONDS = 45.0
_OK = frozenset(("ok",))
_CLOSED = frozenset(("ok", "pay_order_closed"))
_ENDED = frozenset(("ok", "already_paid"))
# A channel may refuse a window, and another one's buyer may have been faster.
_TRIED = frozenset(("ok", "channel_refused", "already_paid", "pay_order_closed"))
# 409: it is paid or closed there, or its time is over.
_SCANNED = frozenset(("ok", "http_409", "http_404"))
_LOCKED = "pay_password_locked"
# What may be answered to each request of a scenario, beside "try again"; anything else is wrong.
_ANSWERS: Mapping[str, Mapping[str, frozenset[str]]] = {
    "normal": {"pay": _OK},
    "repeated": {"pay": _OK},
    "at_once": {"pay": _OK},
    "careless": {"pay": _OK | {_LOCKED}, "pay_wrong": frozenset(("wrong_pay_password", _LOCKED))},
    "poor": {"pay": frozenset(("insufficient_balance",))},
    "foreign": {"pay": frozenset(("not_the_payer",))},
    "closed": {"pay": _CLOSED, "close": _OK},
    "cancelled": {"pay": _CLOSED, "cancel": _OK},
    "raced": {"pay": _CLOSED, "close": _ENDED, "cancel": _ENDED},
    "expiring": {"pay": _CLOSED, "apply": _CLOSED, "create": _CLOSED | {"order_cancelled"}},
    "channel": {"attempt": _TRIED, "scan": _SCANNED},
    "channel_twice": {"attempt": _TRIED, "scan": _SCANNED},
    "channel_or_balance": {"attempt": _TRIED, "scan": _SCANNED, "pay": _OK},
    "channel_closed": {"attempt": _TRIED, "scan": _SCANNED, "close": _ENDED | {"attempt_not_final"}},
    "channel_expiring": {
        "attempt": _TRIED | {"channel_not_offered"},
        "scan": _SCANNED,
        "apply": _CLOSED,
        "create": _CLOSED | {"order_cancelled"},
    },
    "": {"open": _OK | {"wallet_exists"}, "top_up": _OK},
}
# These promise that nothing was changed.
_NOTHING_CHANGED = frozenset(("database_unavailable", "database_busy", "busy", "overloaded", "not_ready"))


@dataclass(slots=True)
class Verdict:
    """What was found, a sentence for each fault of the system.

    ``asked``: orders that know of their payment because the order service asked, their event being destroyed.
    ``back_by_itself``: payments by channels that came twice or late and went back.
    """

    payments: int = 0
    events: int = 0
    asked: int = 0
    back_by_itself: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Say whether every promise was kept."""
        return not (self.lost or self.doubled or self.wrong)


@dataclass(slots=True)
class _Story:
    """What the clients know of one order."""

    plan: Entry | None = None
    entries: list[Entry] = field(default_factory=list)

    def codes(self, op: str) -> list[str]:
        return [entry.code for entry in self.entries if entry.op == op]


class Checker:
    """One run's books."""

    def __init__(self, pay: Database, trade: Database, clock: Clock, books: BooksOfChannels) -> None:
        """Use `checker`."""
        self._books = books
        self._pay = pay
        self._trade = trade
        self._clock = clock
        self._looked_at = clock.now()
        self.verdict = Verdict()

    async def quiet(self) -> None:
        """Wait until nothing is under way any more, or nothing moves."""
        before: object = None
        deadline = 0.0
        while True:
            self._looked_at = self._clock.now()
            pay = await self._row(self._pay, "unfinished_at_pay", self._looked_at)
            trade = await self._row(self._trade, "unfinished_at_trade")
            said = await self._of_channels()
            waiting = pay["events"] + pay["postings"] + pay["deadlines"] + pay["returns"] + trade["retries"]
            waiting += said.guessed + said.apart
            if not waiting and trade["known"] >= pay["paid"]:
                return
            now = self._clock.monotonic()
            if (state := (*pay.values(), *trade.values(), said)) != before:
                before, deadline = state, now + _STALL_SECONDS
            if now > deadline:
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def check(self, home: Path, destroyed: int) -> Verdict:
        """Compare everything with everything; so many messages were destroyed at the broker."""
        stories, top_ups = _read(read_journals(home))
        pay_orders = {row["biz_order_no"]: row for row in await self._pay.fetch(_SQL["pay_orders"])}
        orders = {row["id"]: row for row in await self._trade.fetch(_SQL["orders"])}
        inbox = {row["event_id"]: row["times"] for row in await self._trade.fetch(_SQL["inbox"])}
        for number, row in pay_orders.items():
            self._check_payment(number, row, orders.get(number), inbox.get(f"{PAY_SUCCESS}:{number}", 0))
        self._check_orders(orders, pay_orders, inbox)
        if self.verdict.asked > destroyed:
            text = f"{self.verdict.asked} paid orders without their event, and {destroyed} events destroyed"
            self.verdict.lost.append(text)
        for number, story in stories.items():
            self._check_story(number, story, pay_orders.get(number), orders.get(number))
        self._check_top_ups(top_ups, await self._pay.fetch(_SQL["top_ups"]))
        await self._check_ledger()
        await self._check_channels()
        await self._check_rest()
        self.verdict.payments = sum(row["status"] == PayStatus.TRADE_SUCCESS for row in pay_orders.values())
        self.verdict.events = len(inbox)
        return self.verdict

    def _check_payment(self, number: int, row: Record, order: Record | None, applied: int) -> None:
        """One pay order: paid exactly when its money moved, once, and when trade knows."""
        lost, doubled, wrong = self.verdict.lost, self.verdict.doubled, self.verdict.wrong
        if row["status"] != PayStatus.TRADE_SUCCESS:
            if row["transfers"]:
                wrong.append(f"{number}: money moved, and it is not paid")
            if applied:
                wrong.append(f"{number}: applied at trade, and it is not paid")
            return
        if not row["transfers"]:
            lost.append(f"{number}: paid without a transfer")
        if row["transfers"] > 1 or row["moved"] > row["amount"]:
            doubled.append(f"{number}: {row['transfers']} transfers moved {row['moved']}")
        if row["moved"] < row["amount"] or not row["rightly"]:
            wrong.append(f"{number}: {row['moved']} moved for {row['amount']}, or between wrong accounts")
        if order is not None and order["status"] == "PAID" and not applied:
            self.verdict.asked += 1
        elif not applied or order is None or order["status"] != "PAID":
            status = order["status"] if order else "unknown"
            lost.append(f"{number}: paid, and at trade applied {applied} times, {status}")
        if applied > 1:
            doubled.append(f"{number}: applied {applied} times")

    def _check_orders(
        self, orders: Mapping[int, Record], pay_orders: Mapping[int, Record], inbox: Mapping[str, int]
    ) -> None:
        wrong = self.verdict.wrong
        for number, order in orders.items():
            pay_order = pay_orders.get(number)
            paid = pay_order is not None and pay_order["status"] == PayStatus.TRADE_SUCCESS
            if order["status"] == "PAID" and not paid:
                wrong.append(f"{number}: PAID at trade without a payment")
            if order["status"] == "CANCELLED" and not (
                pay_order is not None and pay_order["status"] == PayStatus.TRADE_CLOSED
            ):
                wrong.append(f"{number}: CANCELLED at trade, and its pay order is not closed")
        wrong += [f"{event}: no order has this number" for event in inbox if _number(event) not in pay_orders]

    def _check_story(self, number: int, story: _Story, row: Record | None, order: Record | None) -> None:
        """One order: what its clients were told is so."""
        wrong, plan = self.verdict.wrong, story.plan
        if plan is None:
            wrong.append(f"{number}: nobody planned it")
            return
        name = f"{number} ({plan.scenario})"
        allowed = _ANSWERS[plan.scenario]
        for entry in story.entries:
            if entry.code not in TRY_AGAIN and entry.code not in allowed.get(entry.op, _OK):
                wrong.append(f"{name}: {entry.op} was answered {entry.status} {entry.code}")
        paid = row is not None and row["status"] == PayStatus.TRADE_SUCCESS
        if row is not None and (row["payer_id"], row["amount"]) != (plan.user, plan.amount):
            wrong.append(f"{name}: its pay order has another payer or amount")
        pays = [e for e in story.entries if e.op == "pay" and e.user == plan.user]
        self._check_pays(name, pays, paid=paid, elsewhere=bool(story.codes("attempt")))
        ended = [op for op in ("close", "cancel") if "ok" in story.codes(op)]
        if ended and (row is None or row["status"] != PayStatus.TRADE_CLOSED):
            wrong.append(f"{name}: {ended[0]} was answered 200, and it is not closed")
        if "ok" in story.codes("cancel") and (order is None or order["status"] != "CANCELLED"):
            wrong.append(f"{name}: cancel was answered 200, and it is not cancelled")
        if "already_paid" in (*story.codes("close"), *story.codes("cancel")) and not paid:
            wrong.append(f"{name}: answered already_paid, and it is not")

    def _check_pays(self, name: str, pays: Sequence[Entry], *, paid: bool, elsewhere: bool) -> None:
        """The payer's own tries with the right password."""
        successes = {entry.digest for entry in pays if entry.code == "ok"}
        if successes and not paid:
            self.verdict.lost.append(f"{name}: answered 200, and it is not paid")
        if len(successes) > 1:
            self.verdict.wrong.append(f"{name}: answered 200 in {len(successes)} different ways")
        if paid and not successes and not elsewhere and not any(_may_have_paid(entry) for entry in pays):
            codes = sorted({entry.code for entry in pays})
            self.verdict.wrong.append(f"{name}: paid, and its payer was only told {codes}")

    def _check_top_ups(self, asked: Mapping[str, list[Entry]], done: Iterable[Record]) -> None:
        verdict, rows = self.verdict, {row["key"]: row for row in done}
        for key, entries in asked.items():
            row, first = rows.pop(key, None), entries[0]
            answered = {entry.digest for entry in entries if entry.code == "ok"}
            if answered and row is None:
                verdict.lost.append(f"top-up {key}: answered 201, and no money came")
            if len(answered) > 1:
                verdict.wrong.append(f"top-up {key}: answered in {len(answered)} different ways")
            if row and row["times"] > 1:
                verdict.doubled.append(f"top-up {key}: {row['times']} times")
            if row and (row["owner_id"], row["amount"]) != (first.user, first.amount * row["times"]):
                verdict.wrong.append(f"top-up {key}: another wallet or amount")
        verdict.wrong += [f"top-up {key}: nobody asked for it" for key in rows]

    async def _check_ledger(self) -> None:
        wrong = self.verdict.wrong
        if not await trial_balance(self._pay):
            wrong.append("the ledger does not balance")
        for row in await self._pay.fetch(_SQL["foundlings"]):
            wrong.append(f"payment {row['reference']}: for no pay order")
        for row in await self._pay.fetch(_SQL["wallets"]):
            name = f"wallet {row['owner_id']}"
            if row["credits"] < row["debits"]:
                wrong.append(f"{name}: below zero")
            if row["debits"] > row["owed"]:
                self.verdict.doubled.append(f"{name}: debited {row['debits']} for orders of {row['owed']}")
            elif row["debits"] < row["owed"]:
                self.verdict.lost.append(f"{name}: debited {row['debits']} for orders of {row['owed']}")
            if row["credits"] != row["paid_in"]:
                wrong.append(f"{name}: credited {row['credits']} by top-ups of {row['paid_in']}")

    async def _of_channels(self) -> Judged:
        return judged(await standing(self._pay), await self._books())

    async def _check_channels(self) -> None:
        """Both sides of each channel: final states as its books say, and the same money to the minor unit."""
        said, verdict = await self._of_channels(), self.verdict
        verdict.back_by_itself = said.back_by_itself
        verdict.lost += [f"{said.lost} unpaid orders whose money a channel keeps"] if said.lost else []
        verdict.doubled += [f"{said.doubled} orders of which channels keep too much"] if said.doubled else []
        for name, count in (("guessed", said.guessed), ("manual", said.manual), ("apart", said.apart)):
            verdict.wrong += [f"channels: {name} {count}"] if count else []

    async def _check_rest(self) -> None:
        """Nothing pending, nothing held, nothing dead."""
        pay = await self._row(self._pay, "unfinished_at_pay", self._looked_at)
        left = {
            name: pay[name] for name in ("events", "leased", "postings", "deadlines", "returns") if pay[name]
        }
        if left:
            self.verdict.wrong.append(f"unfinished at pay: {left}")
        for row in await self._trade.fetch(_SQL["failures"]):
            self.verdict.wrong.append(f"{row['event_id']}: {row['state']}, {row['reason']}: {row['error']}")

    async def _row(self, source: Database, query: str, *arguments: object) -> Record:
        row = await source.fetch_one(_SQL[query], *arguments)
        assert row is not None
        return row


def _read(entries: Iterable[Entry]) -> tuple[dict[int, _Story], dict[str, list[Entry]]]:
    stories: defaultdict[int, _Story] = defaultdict(_Story)
    top_ups: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.op == "plan":
            stories[entry.order].plan = entry
        elif entry.op == "top_up":
            top_ups[entry.key].append(entry)
        elif entry.order:
            stories[entry.order].entries.append(entry)
    return dict(stories), dict(top_ups)


def _may_have_paid(entry: Entry) -> bool:
    return entry.code in TRY_AGAIN and entry.code not in _NOTHING_CHANGED


def _number(event_id: str) -> int:
    return int(event_id.rpartition(":")[2])


@asynccontextmanager
async def checker(urls: Mapping[str, str], clock: Clock, books: BooksOfChannels) -> AsyncIterator[Checker]:
    """Open one on the databases and the simulators' books themselves, without a line between."""
    async with (
        Database.open(urls["paybell_pay"], clock, connections=2) as pay,
        Database.open(urls["paybell_trade"], clock, connections=2) as trade,
    ):
        yield Checker(pay, trade, clock, books)
