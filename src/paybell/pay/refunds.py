"""Refunds: money that goes back from the merchant's account, to the wallet or by the channel it came from."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from paybell.idempotency.keys import IdempotencyKey, KeptAnswer, answer_once
from paybell.ids import Ids
from paybell.messaging.events import PAY_REFUNDED
from paybell.messaging.outbox import Outbox
from paybell.money import TOTAL_MAX, check_amount
from paybell.pay import store
from paybell.pay.errors import MerchantInsufficientBalance, PayOrderNotFound
from paybell.pay.model import PayOrder, Refund, RefundStatus, WayBack
from paybell.storage import Database, Transaction
from paybell.storage.operator_actions import note_action
from paybell.wallet import ledger
from paybell.wallet.errors import BalanceLimit
from paybell.wallet.ledger import Transfer, TransferKind

# More of one order are not shown.
REFUNDS_MAX = 200


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """Somebody wants to give back so much (minor units) of a payment: its merchant, or an operator.

    ``merchant_id`` None: whose ever it is. ``operator`` is written down.
    """

    pay_order_id: int
    merchant_id: str | None
    amount: int
    reason: str
    key: IdempotencyKey
    traceparent: str
    operator: str | None = None


class RefundService:
    """Gives money back: transfer, order and event in one transaction."""

    def __init__(self, database: Database, outbox: Outbox, ids: Ids) -> None:
        self._database = database
        self._outbox = outbox
        self._ids = ids

    async def refund(
        self, request: RefundRequest, show: Callable[[tuple[Refund, PayOrder]], KeptAnswer]
    ) -> tuple[KeptAnswer, bool]:
        """Refund once for each key; return the answer and whether it is a replay.

        One that went back by a channel and was decided there since is answered as it stands now.

        Raises:
            PayOrderNotFound, PayOrderNotPaid, RefundExceedsPayment, MerchantInsufficientBalance,
            BalanceLimit, InvalidAmount, Busy: nothing was changed.
            IdempotencyKeyInUse, IdempotencyKeyReused: about the key, which is the refund's number for ever.
        """
        check_amount(request.amount)

        async def work(tx: Transaction) -> tuple[Refund, PayOrder]:
            return await self._do(tx, request)

        answer, replayed = await self._database.until_free(
            lambda: answer_once(self._database, request.key, work, show, taken="refund_number_once")
        )
        number = request.pay_order_id
        if replayed and (decided := await store.find_decided_refund(self._database, number, request.key.key)):
            order = await store.find(self._database, number)
            assert order is not None, "a refund names a pay order"
            answer = show((decided, order))
        return answer, replayed

    async def _do(self, tx: Transaction, request: RefundRequest) -> tuple[Refund, PayOrder]:
        order = (await store.lock(tx, [request.pay_order_id])).get(request.pay_order_id)
        if order is None or request.merchant_id not in (None, order.merchant_id):
            raise PayOrderNotFound
        way = await store.find_way_back(tx, order)
        refunded = order.refund(request.amount, way.pending if way else 0)
        refund = Refund(self._ids.next(), order.id, request.key.key, request.amount, request.reason)
        if request.operator is not None:
            what = f"{refund.amount} {order.currency} of pay order {order.id}: {refund.reason}"
            await note_action(tx, request.operator, "refund", what, [order.id])
        if way:
            return await self._send_back(tx, order, refund, way, request.traceparent), order
        await self._move(tx, order, refund)
        await store.insert_refund(tx, refund)
        await store.mark_refunded(tx, refunded)
        await self._outbox.append(tx, [refunded.event(PAY_REFUNDED, tx.now, request.traceparent)])
        return refund, refunded

    async def _send_back(
        self, tx: Transaction, order: PayOrder, refund: Refund, way: WayBack, traceparent: str
    ) -> Refund:
        """Take a refund from the merchant and leave it to the channel; version and event follow success."""
        if await ledger.lock_merchant(tx, order.payee_account) < refund.amount:
            raise MerchantInsufficientBalance
        clearing = await ledger.system_account(tx, "clearing", way.channel, order.currency)
        back = Transfer(TransferKind.REFUND, str(refund.id), order.payee_account, clearing, refund.amount)
        await ledger.post(tx, [back])
        await store.insert_refund(tx, refund)
        await store.owe_refund(tx, refund, way, traceparent)
        return replace(refund, status=RefundStatus.PENDING)

    async def find(self, pay_order_id: int, merchant_id: str) -> tuple[PayOrder, list[Refund]]:
        """Return an order of this merchant and its refunds, as they stand.

        Raises:
            PayOrderNotFound.
        """
        order = await store.find(self._database, pay_order_id)
        if order is None or order.merchant_id != merchant_id:
            raise PayOrderNotFound
        return order, await store.find_refunds(self._database, pay_order_id, REFUNDS_MAX)

    async def _move(self, tx: Transaction, order: PayOrder, refund: Refund) -> None:
        if await ledger.lock_merchant(tx, order.payee_account) < refund.amount:
            raise MerchantInsufficientBalance
        wallets = await ledger.lock_wallets(tx, [(order.payer_id, order.currency)])
        wallet = wallets[order.payer_id, order.currency]
        if wallet.credits + refund.amount > TOTAL_MAX:
            raise BalanceLimit
        accounts = (order.payee_account, wallet.account_id)
        back = Transfer(TransferKind.REFUND, str(refund.id), *accounts, refund.amount)
        await ledger.post(tx, [back])
