"""Refunds: money that goes back from the merchant's account to the payer's wallet."""

from dataclasses import dataclass

import msgspec

from paybell.idempotency.errors import IdempotencyKeyReused
from paybell.idempotency.keys import Answer, IdempotencyKey, first_answer, keep_answer
from paybell.ids import Ids
from paybell.messaging.events import PAY_REFUNDED
from paybell.messaging.outbox import Outbox
from paybell.money import TOTAL_MAX, check_amount
from paybell.pay import store
from paybell.pay.errors import MerchantInsufficientBalance, PayOrderNotFound
from paybell.pay.model import PayOrder, Refund
from paybell.storage import ConstraintViolated, Database, Transaction
from paybell.wallet import ledger
from paybell.wallet.errors import BalanceLimit
from paybell.wallet.ledger import Transfer, TransferKind


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """A merchant wants to give back so much (minor units) of a payment."""

    pay_order_id: int
    merchant_id: str
    amount: int
    reason: str
    key: IdempotencyKey
    traceparent: str


class RefundView(msgspec.Struct, rename="camel"):
    """A refund as HTTP shows it; ``refundedAmount`` is all that was given back so far."""

    refund_id: str
    pay_order_id: str
    biz_order_no: str
    amount: int
    refunded_amount: int
    currency: str
    reason: str
    version: int


class RefundService:
    """Gives money back: transfer, order and event in one transaction."""

    def __init__(self, database: Database, outbox: Outbox, ids: Ids) -> None:
        """Work on the pay database."""
        self._database = database
        self._outbox = outbox
        self._ids = ids

    async def refund(self, request: RefundRequest) -> tuple[Answer, bool]:
        """Refund once for each key; return the answer and whether it is a replay.

        Raises:
            PayOrderNotFound, PayOrderNotPaid, RefundExceedsPayment, MerchantInsufficientBalance,
            BalanceLimit, InvalidAmount: nothing was changed.
            IdempotencyKeyInUse, IdempotencyKeyReused: about the key, which is the refund's number for ever.
        """
        check_amount(request.amount)
        try:
            async with self._database.transaction() as tx:
                if kept := await first_answer(tx, request.key):
                    return kept, True
                answer = Answer(201, msgspec.json.encode(await self._do(tx, request)))
                await keep_answer(tx, request.key, answer)
                return answer, False
        except ConstraintViolated as error:
            if error.name == "refund_number_once":  # the key's answer was removed, the refund was not
                raise IdempotencyKeyReused from error
            raise

    async def _do(self, tx: Transaction, request: RefundRequest) -> RefundView:
        order = (await store.lock(tx, [request.pay_order_id])).get(request.pay_order_id)
        if order is None or order.merchant_id != request.merchant_id:
            raise PayOrderNotFound
        refunded = order.refund(request.amount)
        refund = Refund(self._ids.next(), order.id, request.key.key, request.amount, request.reason)
        await self._move(tx, order, refund)
        await store.insert_refund(tx, refund)
        await store.mark_refunded(tx, refunded)
        await self._outbox.append(tx, [refunded.event(PAY_REFUNDED, tx.now, request.traceparent)])
        return RefundView(
            refund_id=str(refund.id),
            pay_order_id=str(order.id),
            biz_order_no=str(order.biz_order_no),
            amount=refund.amount,
            refunded_amount=refunded.refunded_amount,
            currency=order.currency,
            reason=refund.reason,
            version=refunded.version,
        )

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
