"""The steps that pay a purchase log, each order by itself, so that they can be begun again at any time.

An order is known to be payable before its money is put into the wallet, under the order's own key: a
log that is corrected, or has grown, or whose replay was killed, brings the money of an order once.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from paybell_client import AlreadyPaid, IdempotencyKeyReused, Problem, WalletExists, WrongPayPassword
from rich.progress import Progress

from paybell.cli.callers import TOKENS_REFUSED, Callers
from paybell.cli.purchase_log import PayableRow, RefusedRow, read_purchases
from paybell.cli.workload import chunks, for_each, wait_for_statuses
from paybell.clock import Clock, rfc3339
from paybell.errors import PayOrderClosed
from paybell.trade.errors import OrderCancelled, OrderMismatch
from paybell.trade.model import OrderStatus

# Who opens wallets and makes orders, as the service sees it: by this a replay knows its wallets again.
REPLAYER = "paybell-replay"
# The pay password of every wallet a replay opens: the log has none, and it is not a secret.
PAY_PASSWORD = "123456"  # noqa: S105
# Rows that are listed one by one; the counts by reason know no such bound.
LISTED_MAX = 200
# An order of a replay can be paid for so long: a replay that was killed is begun again within it.
TTL_SECONDS = 30 * 24 * 3600
# What can be paid for less than this may be over before it is funded.
_TIME_LEFT_LEAST = timedelta(seconds=60)
_PAID = frozenset((OrderStatus.PAID, OrderStatus.PARTIALLY_REFUNDED, OrderStatus.REFUNDED))
WALLET_OF_OTHERS = "wallet_of_others"
# Rows that can never be paid as they are, though nothing is wrong with them.
EXPIRED = frozenset((PayOrderClosed.code, OrderCancelled.code))

Wallet = tuple[str, str]
FindWallets = Callable[[Collection[Wallet]], Awaitable[Mapping[Wallet, bool]]]


@dataclass(slots=True)
class LogReplay:
    """What a file comes to, and how far it has got; amounts in minor units.

    Attributes:
        path: the file.
        rows: all of them, good or bad.
        payable: amounts by order, without those that were refused.
        paid_before: orders that an earlier run has paid.
        reasons: how many rows were refused, by reason.
        listed: the first of these rows.
        left: what was put into wallets for orders that could not be paid after all.
    """

    path: Path
    rows: int = 0
    payable: dict[int, int] = field(default_factory=dict)
    paid_before: set[int] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    listed: list[RefusedRow] = field(default_factory=list)
    left: int = 0

    def survey(self) -> None:
        """Read the file once: what is payable, and what is refused."""
        for row in read_purchases(self.path):
            self.rows += 1
            if isinstance(row, RefusedRow):
                self.refuse(row)
            else:
                self.payable[row.order_id] = row.amount

    def refuse(self, row: RefusedRow) -> None:
        """Count a row that is not paid, and list it if the list is not full."""
        self.reasons[row.reason] += 1
        if len(self.listed) < LISTED_MAX:
            self.listed.append(row)

    def purchases(self) -> Iterator[PayableRow]:
        """Read the payable rows again."""
        return (row for row in read_purchases(self.path) if isinstance(row, PayableRow))


class _Unpayable(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class Replayer:
    """The steps of a replay, each over the whole file."""

    def __init__(
        self,
        work: LogReplay,
        calling: Callers,
        find_wallets: FindWallets,
        *,
        clock: Clock,
        bars: Progress,
        concurrency: int,
    ) -> None:
        self._work = work
        self._calling = calling
        self._shop = calling.shop
        self._find_wallets = find_wallets
        self._clock = clock
        self._bars = bars
        self._concurrency = concurrency
        self._wallets: dict[Wallet, bool] = {}
        self._opening: defaultdict[Wallet, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def run(self) -> None:
        """Pay what is not paid yet, and wait until the order service knows.

        Raises:
            Unavailable: the service is away for longer than the client tries.
        """
        work, bars = self._work, self._bars
        self._bar = bars.add_task("looking for paid orders", total=len(work.payable))
        await for_each(chunks(work.purchases()), self._look, concurrency=4)
        self._bar = bars.add_task("paying orders", total=len(work.payable), completed=len(work.paid_before))
        to_pay = work.payable.keys() - work.paid_before
        unpaid = (row for row in work.purchases() if row.order_id in to_pay)
        await for_each(unpaid, self._pay, concurrency=self._concurrency)
        self._bar = bars.add_task("marked by trade", total=len(work.payable))
        expected = dict.fromkeys(work.payable, _PAID)
        await wait_for_statuses(self._shop, expected, self._clock, self._advance)

    def _advance(self, count: int = 1) -> None:
        self._bars.advance(self._bar, count)

    async def _look(self, rows: list[PayableRow]) -> None:
        """Find the orders that are paid (refunded or not) or never will be, and the wallets of the others."""
        orders = {order.id: order for order in await self._shop.read_orders([r.order_id for r in rows])}
        unpaid = list[PayableRow]()
        for row in rows:
            order = orders.get(str(row.order_id))
            asked = row.user_id, row.amount, row.currency
            if order is None:
                unpaid.append(row)
            elif (order.buyer_id, order.total_fee, order.currency) != asked:
                self._refuse(row, OrderMismatch.code, OrderMismatch.detail)
            elif order.status == OrderStatus.CANCELLED:
                self._refuse(row, OrderCancelled.code, OrderCancelled.detail)
            elif order.is_paid:
                self._work.paid_before.add(row.order_id)
            else:
                unpaid.append(row)
        self._wallets.update(await self._find_wallets({row.wallet for row in unpaid}))
        self._advance(len(rows))

    async def _pay(self, row: PayableRow) -> None:
        try:
            await self._pay_row(row)
        except _Unpayable as refused:
            self._refuse(row, refused.reason, refused.detail)
        except TOKENS_REFUSED:
            raise
        except Problem as refused:
            self._refuse(row, refused.code, refused.detail)
        self._advance()

    def _refuse(self, row: PayableRow, reason: str, detail: str) -> None:
        del self._work.payable[row.order_id]
        self._work.refuse(RefusedRow(row.line, reason, detail))

    async def _pay_row(self, row: PayableRow) -> None:
        if self._wallets.get(row.wallet) is False:
            raise _of_others(row)
        pay_order_id = await self._payable(row)
        if pay_order_id is None:
            return
        await self._open_wallet(row)
        await self._fund(row)
        try:
            await self._calling.buyer(row.user_id).pay(pay_order_id, PAY_PASSWORD)
        except TOKENS_REFUSED:
            raise
        except Problem as refused:
            if isinstance(refused, WrongPayPassword):
                self._wallets[row.wallet] = False  # its owner has taken it over; nobody guesses
            self._work.left += row.amount
            money = f"its {row.amount} {row.currency} stay in the wallet of {row.user_id}"
            raise _Unpayable(refused.code, f"{refused.detail} {money}".strip()) from refused

    async def _payable(self, row: PayableRow) -> str | None:
        """Return the pay order that can be paid now; None when it is paid already.

        Raises:
            Problem: it can not. _Unpayable: not for long enough to be funded and paid.
        """
        terms, pay_order_id = (row.user_id, row.amount, row.currency, row.subject), None
        with suppress(AlreadyPaid):
            applied = await self._shop.apply_for_pay_order(
                row.order_id, *terms, expires_in_seconds=TTL_SECONDS
            )
            if applied.expires_at < self._clock.now() + _TIME_LEFT_LEAST:
                until = rfc3339(applied.expires_at)
                raise _Unpayable(PayOrderClosed.code, f"it can be paid until {until} only")
            pay_order_id = applied.id
        with suppress(AlreadyPaid):
            await self._shop.create_order(*terms, order_id=row.order_id)
        return pay_order_id

    async def _open_wallet(self, row: PayableRow) -> None:
        if row.wallet not in self._wallets:
            async with self._opening[row.wallet]:
                if row.wallet not in self._wallets:
                    try:
                        await self._shop.open_wallet(row.user_id, PAY_PASSWORD, row.currency)
                        self._wallets[row.wallet] = True
                    except WalletExists:  # our own, if a first answer was lost
                        self._wallets.update(await self._find_wallets([row.wallet]))
        if not self._wallets[row.wallet]:
            raise _of_others(row)

    async def _fund(self, row: PayableRow) -> None:
        """Put the order's money in, once; a key whose answer was removed says that it came."""
        key = f"replay-{row.order_id}"
        with suppress(IdempotencyKeyReused):
            await self._shop.top_up(row.user_id, row.amount, row.currency, idempotency_key=key)


def _of_others(row: PayableRow) -> _Unpayable:
    return _Unpayable(
        WALLET_OF_OTHERS,
        f"the {row.currency} wallet of {row.user_id} was not opened by a replay, or has "
        "another pay password now; nothing was put into it or tried",
    )
