"""What a simulated channel knows and what money really moved there; pure, in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class TradeState(StrEnum):
    """Of a window."""

    OPEN = "OPEN"
    PAID = "PAID"
    CLOSED = "CLOSED"


class RefundState(StrEnum):
    """Of money on its way back."""

    PENDING = "PENDING"
    DONE = "DONE"
    FAILED = "FAILED"


class Differs(Exception):
    """The same number with other parameters."""


class NotPossible(Exception):
    """The state, or what is left of the amount, does not allow it."""


@dataclass
class BackMoney:
    """A refund; amount in minor units."""

    number: str
    amount: int
    state: RefundState
    made_at: datetime


@dataclass
class Trade:
    """A window, and the payment it may become; amount in minor units.

    Attributes:
        number: the merchant's.
        token: what stands in the QR code or the page's address.
        transaction_id: the channel's own number.
        known: whether a query finds it; Alipay makes a trade only when the buyer scans.
    """

    number: str
    token: str
    transaction_id: str
    amount: int
    currency: str
    subject: str
    expires_at: datetime
    notify_url: str
    parameters: bytes
    made_at: datetime
    known: bool = True
    state: TradeState = TradeState.OPEN
    paid_at: datetime | None = None
    return_url: str = ""
    refunds: dict[str, BackMoney] = field(default_factory=dict)

    @property
    def given_back(self) -> int:
        """What has gone back or is on its way."""
        return sum(one.amount for one in self.refunds.values() if one.state is not RefundState.FAILED)


class Books:
    """All trades of one channel; the only place where one of them changes."""

    def __init__(self) -> None:
        self._trades: dict[str, Trade] = {}
        self._by_token: dict[str, Trade] = {}

    def __iter__(self) -> Iterator[Trade]:
        return iter(self._trades.values())

    def find(self, number: str) -> Trade | None:
        """Return the trade of a merchant's number."""
        return self._trades.get(number)

    def of_token(self, token: str) -> Trade | None:
        """Return the trade that a QR code or page belongs to."""
        return self._by_token.get(token)

    def open(self, trade: Trade) -> Trade:
        """Open a window; the same again is the same one.

        Raises:
            Differs: the number is taken by other parameters.
        """
        before = self._trades.get(trade.number)
        if before is None:
            self._trades[trade.number] = self._by_token[trade.token] = before = trade
        elif before.parameters != trade.parameters:
            raise Differs
        return before

    def pay(self, trade: Trade, now: datetime) -> None:
        """Move the buyer's money.

        Raises:
            NotPossible: it is paid or closed, or its time is over.
        """
        if trade.state is not TradeState.OPEN or now >= trade.expires_at:
            raise NotPossible
        trade.state, trade.paid_at, trade.known = TradeState.PAID, now, True

    def close(self, trade: Trade) -> None:
        """Make sure that nobody can pay it.

        Raises:
            NotPossible: it is paid.
        """
        if trade.state is TradeState.PAID:
            raise NotPossible
        trade.state = TradeState.CLOSED

    def refund(self, trade: Trade, number: str, amount: int, now: datetime, state: RefundState) -> BackMoney:
        """Give money back; the same number again is the same refund.

        Raises:
            Differs: the number is taken by another amount.
            NotPossible: nothing was paid, or less is left.
        """
        before = trade.refunds.get(number)
        if before is not None:
            if before.amount != amount:
                raise Differs
            return before
        if trade.state is not TradeState.PAID or not 0 < amount <= trade.amount - trade.given_back:
            raise NotPossible
        trade.refunds[number] = back = BackMoney(number, amount, state, now)
        return back

    def moved(self) -> dict[str, dict[str, int | str]]:
        """Return by merchant's number what was really paid and what went back, in minor units."""
        return {
            one.number: {
                "state": one.state.value,
                "amount": one.amount,
                "paid": one.amount if one.state is TradeState.PAID else 0,
                "refunded": sum(b.amount for b in one.refunds.values() if b.state is RefundState.DONE),
                "currency": one.currency,
            }
            for one in self._trades.values()
        }
