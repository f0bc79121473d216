"""What a batch of payments reads and writes: one statement for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paybell.errors import AttemptNotFinal
from paybell.messaging.events import PAY_SUCCESS
from paybell.messaging.outbox import Outbox
from paybell.pay import store
from paybell.pay.model import PayOrder
from paybell.pay.settlement import PaymentRequest, Settlement
from paybell.pay.status import OPEN
from paybell.storage import Transaction, load_queries
from paybell.wallet import ledger
from paybell.wallet.ledger import WalletAccount

_SQL = load_queries(__package__)


@dataclass(frozen=True, slots=True)
class Locked:
    """Pay orders by id and wallets by (user id, currency): those that are locked, and those that others have.

    ``held`` as of `settlement.settle`.
    """

    orders: Mapping[int, PayOrder]
    wallets: Mapping[tuple[str, str], WalletAccount]
    held: Mapping[int, bool]
    busy_orders: set[int]
    busy_wallets: set[tuple[str, str]]

    def is_free(self, request: PaymentRequest) -> bool:
        """Say whether nobody else holds what a request is about."""
        order = self.orders.get(request.pay_order_id)
        if order is None:
            return request.pay_order_id not in self.busy_orders
        return not _wants_wallet(request, order) or (order.payer_id, order.currency) not in self.busy_wallets


async def lock(tx: Transaction, requests: Sequence[PaymentRequest]) -> Locked:
    """Lock what these requests need and nobody else holds. It never waits."""
    numbers = [request.pay_order_id for request in requests]
    rows = await tx.fetch(_SQL["lock_payments"], numbers, [request.payer_id for request in requests])
    orders: dict[int, PayOrder] = {}
    wallets: dict[tuple[str, str], WalletAccount] = {}
    for row in rows:
        order = store.pay_order(row)
        orders[order.id] = order
        if row["account_id"] is not None:
            wallets[order.payer_id, order.currency] = ledger.wallet_account(
                row, order.payer_id, order.currency
            )
    wanted = {
        (order.payer_id, order.currency)
        for request in requests
        if request.pay_order_id in orders and _wants_wallet(request, order := orders[request.pay_order_id])
    }
    busy_orders = await store.existing(tx, [number for number in numbers if number not in orders])
    busy_wallets = await ledger.existing_wallets(tx, wanted - wallets.keys())
    held = {row["id"]: row["moves_money"] for row in rows if row["moves_money"] is not None}
    return Locked(orders, wallets, held, busy_orders, busy_wallets)


def _wants_wallet(request: PaymentRequest, order: PayOrder) -> bool:
    """Say whether the payer's wallet is needed; not because somebody else has asked."""
    return order.payer_id == request.payer_id and order.status in OPEN


async def write(
    tx: Transaction, outbox: Outbox, settled: Settlement, *, though_open: Sequence[int] = ()
) -> None:
    """Write what was decided of rows that are locked: tries of pay passwords, payments and their events.

    Orders ``though_open`` are paid with windows open, too.

    Raises:
        AttemptNotFinal: money from elsewhere may be on its way for one of the orders.
        ConstraintViolated: as of `ledger.post`.
    """
    await ledger.write_pay_passwords(tx, settled.tries)
    rows = await outbox.append(
        tx,
        [order.event(PAY_SUCCESS, tx.now, trace) for order, trace in settled.paid],
        _SQL["write_payments"],
        [order.id for order, _ in settled.paid],
        [transfer.debit_account for transfer in settled.transfers],
        though_open,
    )
    if rows and rows[0]["paid"] < len(settled.paid):
        raise AttemptNotFinal
