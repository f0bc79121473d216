"""A pay service with money from elsewhere: the reference wallet, or windows that tests open and pay."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from support import PaySide, payment
from wallets import PASSWORD

from paybell.channels import store
from paybell.channels.answers import (
    Closed,
    CloseSaid,
    Opened,
    OpenSaid,
    Paid,
    QuerySaid,
    RefundDone,
    RefundFailed,
    RefundSaid,
    Unknown,
    Waiting,
)
from paybell.channels.attempt import Attempt
from paybell.channels.channel import (
    Channel,
    Charge,
    Disputed,
    Heard,
    Kind,
    Notice,
    NoticeAnswer,
    NoticeRefused,
    Offer,
    Return,
)
from paybell.channels.chaser import Chaser
from paybell.channels.circuit import Circuit
from paybell.channels.decision import WINDOW_SCHEDULE
from paybell.channels.lines import Line
from paybell.channels.notices import Notices
from paybell.channels.payments import AttemptService
from paybell.channels.recorder import Recorder
from paybell.channels.returns import ReturnSender
from paybell.channels.settling import Settling
from paybell.channels.wallet import NAME
from paybell.channels.windows import WindowCloser
from paybell.errors import PaybellError
from paybell.pay.model import PayOrder
from paybell.storage import Database
from paybell.telemetry.observers import NoticeObserver, Observer
from paybell.testing import FrozenClock, SequentialIds
from paybell.tokens import Principal
from paybell.verification.ledger_check import verify
from paybell.wallet.ledger import BalancePoster

MERCHANT = Principal("merchant", frozenset({"pay-orders:write", "pay-orders:read"}), "1")
BUYER = "alice"


@dataclass
class Windows:
    """A channel with books of its own: what was paid, what was closed, what has gone back."""

    name: str = "windows"
    kind: Kind = Kind.WINDOW
    offer: Offer = field(default_factory=Offer)
    merchant: str = "shop"
    schedule: tuple[float, ...] = WINDOW_SCHEDULE
    paid: dict[str, int] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    returned: dict[str, int] = field(default_factory=dict)
    deaf: bool = False
    answers_lost: int = 0
    gate: asyncio.Event | None = None
    closing: asyncio.Event | None = None
    keeps: bool = False  # what it was paid, for good
    amounts: dict[str, int] = field(default_factory=dict)

    async def open(self, charge: Charge) -> OpenSaid:
        """Open a window."""
        self.amounts[charge.attempt_id] = charge.amount
        if self.gate is not None:
            await self.gate.wait()
        if self.answers_lost:
            self.answers_lost -= 1
            return Unknown("lost")
        return Opened(f"pay:{charge.attempt_id}")

    async def query(self, charge: Charge) -> QuerySaid:
        """Say what the books say."""
        if self.deaf:
            return Unknown("deaf")
        if charge.attempt_id in self.paid:
            return self._paid(charge.attempt_id)
        return Closed() if charge.attempt_id in self.closed else Waiting()

    async def close(self, charge: Charge) -> CloseSaid:
        """Close what is not paid."""
        if self.closing is not None:
            await self.closing.wait()
        if self.deaf:
            return Unknown("deaf")
        if charge.attempt_id in self.paid:
            return self._paid(charge.attempt_id)
        self.closed.add(charge.attempt_id)
        return Closed()

    async def refund(self, back: Return) -> RefundSaid:
        """Give back, once for each number."""
        if self.keeps:
            return RefundFailed("ABNORMAL", "the account is closed")
        self.returned[back.refund_id] = back.amount
        return RefundDone(f"back-{back.refund_id}")

    async def query_refund(self, back: Return) -> RefundSaid:
        """Say that it has gone back."""
        return RefundDone(f"back-{back.refund_id}")

    def buyer_pays(self, attempt: Attempt, *, after_close: bool = False) -> bool:
        """Pay a window as the buyer does; say whether it was open."""
        number = str(attempt.id)
        if number in self.closed and not after_close:
            return False
        self.paid[number] = attempt.amount
        return True

    def _paid(self, number: str) -> Paid:
        return Paid(self.paid[number], "CNY", f"tx-{number}", self.merchant)

    def read_notice(self, notice: Notice) -> Heard:
        """Read ``signed NUMBER``, or of a dispute ``needs_response NUMBER`` and ``lost NUMBER``."""
        signed, _, number = notice.body.decode().partition(" ")
        if signed in ("needs_response", "lost"):
            closed = signed == "lost"
            said = Disputed(f"dp-{number}", f"tx-{number}", 100, "CNY", "fraudulent", signed, closed=closed)
            return Heard(f"{signed}-{number}", "", disputed=said)
        if signed != "signed":
            raise NoticeRefused
        return Heard(f"notice-{number}", number, self._paid(number))

    def answer_notice(self, *, taken: bool) -> NoticeAnswer:
        """Answer as this channel wants it."""
        return NoticeAnswer(200 if taken else 500, b"success" if taken else b"fail")


@dataclass
class Shop:
    """The pay service with channels, and what tests do with it again and again."""

    side: PaySide
    clock: FrozenClock
    service: AttemptService
    notices: Notices
    settling: Settling
    lines: dict[str, Line]
    senders: list[ReturnSender]

    async def order(self, number: int, amount: int = 100, ttl_seconds: int = 600) -> PayOrder:
        """Apply for one of the buyer's orders."""
        return await self.side.order(number, BUYER, amount, ttl_seconds=ttl_seconds)

    async def pay(self, order: PayOrder, password: str = PASSWORD) -> PayOrder | PaybellError:
        """Try to pay out of the remote wallet; return the order or the refusal."""
        try:
            return await self.service.pay(payment(order.id, BUYER, password), NAME)
        except PaybellError as error:
            return error

    async def open(self, order: PayOrder, channel: str = "windows") -> Attempt:
        """Open a window of a channel."""
        return await self.service.open_window(order.id, BUYER, channel, "")

    async def attempts(self, order: PayOrder) -> list[Attempt]:
        """Return its attempts, oldest first."""
        return await store.of_pay_order(self.side.database, order.id)

    async def states(self, order: PayOrder) -> list[str]:
        """Return the states of its attempts, oldest first."""
        return [one.state.value for one in await self.attempts(order)]

    async def read(self, order: PayOrder) -> PayOrder:
        """Return it as it is now."""
        return await self.side.pay.read(order.id, MERCHANT)

    async def close(self, order: PayOrder) -> PayOrder:
        """Close it as its merchant."""
        return await self.side.pay.close(order.id, MERCHANT, "")

    async def notify(self, attempt: Attempt, words: str = "signed") -> NoticeAnswer:
        """Send the notice that it was paid."""
        return await self.take_notice(attempt.channel, {}, f"{words} {attempt.id}".encode())

    async def take_notice(self, channel: str, headers: Mapping[str, str], body: bytes) -> NoticeAnswer:
        """Take a notice as it comes from outside."""

        async def read() -> bytes:
            return body

        return await self.notices.take(channel, headers, read)

    async def chase(self, seconds: float = 100.0) -> None:
        """Let time pass, and query what is due."""
        self.clock.advance(seconds)
        for line in self.lines.values():
            while await line.chaser.run_once():
                pass

    async def send_back(self, seconds: float = 100.0) -> None:
        """Let time pass, and send back what is due."""
        self.clock.advance(seconds)
        for sender in self.senders:
            while await sender.run_once():
                pass

    async def fold(self) -> None:
        """Fold what was appended."""
        while await BalancePoster(self.side.database).run_once():
            pass

    async def faults(self) -> list[str]:
        """Return whatever is wrong with the books."""
        await self.fold()
        progress = await verify(self.side.database, lambda _: None)
        return [f"{one.table} {one.what}" for one in progress.findings]


@asynccontextmanager
async def opened_shop(
    url: str,
    channels: Sequence[Channel],
    *,
    clock: FrozenClock | None = None,
    first_id: int = 1001,
    notify_url: str = "",
    make: Callable[[Database], PaySide] | None = None,
    observer: NoticeObserver | None = None,
) -> AsyncIterator[Shop]:
    """Open the pay service with these channels."""
    clock = clock or FrozenClock()
    async with Database.open(url, clock, connections=12) as database:
        side = make(database) if make else PaySide(database, first_id=first_id)
        recorder = Recorder(database, side.outbox, {one.name: one for one in channels})
        lines = {}
        for channel in channels:
            circuit = Circuit(clock)
            lines[channel.name] = Line(channel, circuit, Chaser(database, recorder, channel, circuit, clock))
        side.releasing.append(WindowCloser(database, lines).close)
        yield Shop(
            side,
            clock,
            AttemptService(
                database, recorder, SequentialIds(first_id + 500_000), lines, clock.now, notify_url=notify_url
            ),
            Notices(database, recorder, lines, clock, observer or Observer()),
            Settling(database, side.outbox),
            lines,
            [ReturnSender(database, side.outbox, one.channel, one.circuit) for one in lines.values()],
        )
