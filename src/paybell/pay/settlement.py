"""The decision about a batch of payments: pure, so that it can be tried ten thousand times.

Each request is looked at in the order it came, against what the earlier ones of the batch
left. Refusals have one order of precedence, so that every request has exactly one answer:
no such order, another payer, (paid already: the same success again), closed or expired, no
wallet, password locked, wrong password, not enough balance, paid at a channel perhaps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from paybell.errors import AttemptNotFinal, Refused
from paybell.pay.errors import NotThePayer, PayOrderNotFound
from paybell.pay.model import PayOrder
from paybell.pay.status import PayStatus
from paybell.wallet.errors import InsufficientBalance, WalletNotFound
from paybell.wallet.ledger import Transfer, TransferKind, WalletAccount
from paybell.wallet.pay_password import PayPassword, Pepper

_NOTHING: Mapping[int, bool] = {}


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """Somebody wants to pay an order out of their wallet."""

    pay_order_id: int
    payer_id: str
    pay_password: str = field(repr=False)
    traceparent: str
    windows_asked: bool = False  # the channels of its open windows have been asked to close them


@dataclass(slots=True)
class Settlement:
    """What a batch comes to: an answer for each request, and what is to be written."""

    outcomes: list[PayOrder | Refused] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    paid: list[tuple[PayOrder, str]] = field(default_factory=list)
    tries: dict[int, PayPassword] = field(default_factory=dict)


def settle(
    requests: Sequence[PaymentRequest],
    orders: Mapping[int, PayOrder],
    wallets: Mapping[tuple[str, str], WalletAccount],
    pepper: Pepper,
    now: datetime,
    *,
    held: Mapping[int, bool] = _NOTHING,
) -> Settlement:
    """Decide a batch.

    Args:
        requests: in the order they came.
        orders: locked rows; a missing one does not exist. ``wallets``: the same.
        wallets: by user and currency.
        pepper: of pay passwords.
        now: by which orders expire.
        held: orders with something under way at channels, and whether that may be moving money.
    """
    batch = _Batch(orders, wallets, pepper, now, held)
    for request in requests:
        batch.settlement.outcomes.append(batch.decide(request))
    return batch.settlement


class _Batch:
    """The state a batch goes through while its requests are decided one after the other."""

    def __init__(
        self,
        orders: Mapping[int, PayOrder],
        wallets: Mapping[tuple[str, str], WalletAccount],
        pepper: Pepper,
        now: datetime,
        held: Mapping[int, bool],
    ) -> None:
        self._held = held
        self.settlement = Settlement()
        self._orders = dict(orders)
        self._wallets = wallets
        self._pepper = pepper
        self._now = now
        self._spent: dict[int, int] = {}

    def decide(self, request: PaymentRequest) -> PayOrder | Refused:
        order = self._orders.get(request.pay_order_id)
        if order is None:
            return PayOrderNotFound()
        if order.payer_id != request.payer_id:
            return NotThePayer()
        if order.status is PayStatus.TRADE_SUCCESS:
            return order
        if refusal := order.refusal(self._now):
            return refusal
        wallet = self._wallets.get((order.payer_id, order.currency))
        if wallet is None:
            return WalletNotFound()
        return self._check_password(wallet, request.pay_password) or self._debit(wallet, order, request)

    def _check_password(self, wallet: WalletAccount, password: str) -> Refused | None:
        before = self.settlement.tries.get(wallet.account_id, wallet.pay_password)
        after, refusal = before.attempt(password, self._pepper, self._now)
        if after != before:
            self.settlement.tries[wallet.account_id] = after
        return refusal

    def _debit(self, wallet: WalletAccount, order: PayOrder, request: PaymentRequest) -> PayOrder | Refused:
        spent = self._spent.get(wallet.account_id, 0) + order.amount
        if spent > wallet.balance:
            return InsufficientBalance()
        moves_money = self._held.get(order.id)
        if moves_money or (moves_money is False and not request.windows_asked):
            return AttemptNotFinal()
        self._spent[wallet.account_id] = spent
        paid = self._orders[order.id] = order.pay(self._now)
        self.settlement.transfers.append(
            Transfer(
                TransferKind.PAYMENT, str(order.id), wallet.account_id, order.payee_account, order.amount
            )
        )
        self.settlement.paid.append((paid, request.traceparent))
        return paid
