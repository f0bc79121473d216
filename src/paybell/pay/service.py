"""What one can do with a pay order. Every write is a batch in one transaction."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import compress

from paybell.batching import Batcher, bisect, is_no_outage
from paybell.errors import AttemptNotFinal, Busy
from paybell.ids import Ids
from paybell.messaging.outbox import Outbox
from paybell.parts import Release
from paybell.pay import payment_rows, store
from paybell.pay.closing import Closer, Closing
from paybell.pay.errors import NotThePayer, PayOrderNotFound
from paybell.pay.model import Application, PayOrder
from paybell.pay.releasing import Releasing
from paybell.pay.settlement import PaymentRequest, settle
from paybell.storage import Database
from paybell.telemetry.observers import SettlementObserver
from paybell.tokens import Principal
from paybell.wallet import ledger
from paybell.wallet.pay_password import Pepper

# A merchant's first application opens its account; one that meets its own twin has waited for that.
_APPLY_TRIES = 3


class PayService:
    """Applies for, pays, closes and reads pay orders."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        pepper: Pepper,
        ids: Ids,
        observer: SettlementObserver,
        *,
        batch_max: int,
        releasing: Sequence[Release] = (),
    ) -> None:
        """Work on the pay database.

        ``batch_max`` payments share a transaction at most; ``releasing`` as in `Closer`.
        """
        self._database = database
        self._outbox = outbox
        self._pepper = pepper
        self._ids = ids
        self._observer = observer
        self._closer = Closer(database, outbox, releasing)
        self._releasing = Releasing(releasing)
        self._payments = Batcher(self.settle_batch, batch_max=batch_max, gathers=True)
        self._applications = Batcher(self._apply_batch, batch_max=batch_max)

    async def apply(self, application: Application) -> tuple[PayOrder, bool]:
        """Return the pay order of a business order, and whether it was made just now.

        Raises:
            PayOrderMismatch: it exists with another amount, currency or payer.
            AlreadyPaid, PayOrderClosed: it exists and cannot be paid any more.
        """
        return await self._applications.submit(application)

    async def apply_many(
        self, applications: Sequence[Application]
    ) -> Sequence[tuple[PayOrder, bool] | Exception]:
        """Do as `apply` does for each of these, in one transaction; return its answer or error, in order."""
        return await self._apply_batch(applications) if applications else []

    async def pay(self, request: PaymentRequest) -> PayOrder:
        """Pay an order out of its payer's balance; again, and the answer is the same.

        Windows of it that are open at channels are closed there first, when nothing else is in the way of the
        payment; what a channel does not close in time stays open, and a second success goes back by itself.

        Raises:
            PayOrderNotFound, NotThePayer, PayOrderClosed, WalletNotFound, PayPasswordLocked,
            WrongPayPassword, InsufficientBalance: in this order of precedence.
            AttemptNotFinal: money from elsewhere may be on its way.
            Busy: somebody else holds the order or the wallet; nothing was changed.
            DatabaseUnavailable: nothing was changed. OutcomeUnknown: try again to find out.
        """
        try:
            return await self._pay(request)
        except AttemptNotFinal:
            await self._releasing.ask(request.pay_order_id)
        return await self._pay(replace(request, windows_asked=True))

    async def _pay(self, request: PaymentRequest) -> PayOrder:
        try:
            return await self._database.until_free(lambda: self._payments.submit(request))
        except Busy:
            self._observer.settled(Busy.code)
            raise

    async def settle_batch(self, requests: Sequence[PaymentRequest]) -> Sequence[PayOrder | Exception]:
        """Settle many payments, each with its own outcome; a bad one does not fail the others.

        Where somebody else holds the order or the wallet the outcome is `Busy`: to be tried again.
        """
        with self._observer.settling([request.traceparent for request in requests]):
            outcomes = await bisect(self._settle, requests, is_no_outage)
        for outcome in outcomes:
            if not isinstance(outcome, Busy):
                self._observer.settled(_outcome(outcome))
        return outcomes

    async def _settle(self, requests: Sequence[PaymentRequest]) -> Sequence[PayOrder | Exception]:
        async with self._database.transaction() as tx:
            locked = await payment_rows.lock(tx, requests)
            free = list(compress(requests, map(locked.is_free, requests)))
            settled = settle(free, locked.orders, locked.wallets, self._pepper, tx.now, held=locked.held)
            asked = [request.pay_order_id for request in requests if request.windows_asked]
            await payment_rows.write(tx, self._outbox, settled, though_open=asked)
        decided = iter(settled.outcomes)
        return [next(decided) if locked.is_free(request) else Busy() for request in requests]

    async def _apply_batch(
        self, applications: Sequence[Application]
    ) -> Sequence[tuple[PayOrder, bool] | Exception]:
        return await bisect(self._apply, applications, is_no_outage)

    async def _apply(
        self, applications: Sequence[Application]
    ) -> Sequence[tuple[PayOrder, bool] | Exception]:
        now = self._database.now
        orders, fresh = await store.insert(self._database, applications, self._ids, now)
        for _ in range(_APPLY_TRIES):
            missing = [one for one in applications if one.key not in orders]
            if not missing:
                break
            async with self._database.transaction() as tx:
                await ledger.system_accounts(
                    tx, "merchant", {(one.merchant_id, one.currency) for one in missing}
                )
            found, more = await store.insert(self._database, missing, self._ids, now)
            orders |= found
            fresh |= more
        answers: list[tuple[PayOrder, bool] | Exception] = []
        for application in applications:
            order = orders[application.key]
            created = order.id in fresh
            fresh -= {order.id}
            answers.append(application.answer(order, now) or (order, created))
        return answers

    async def close(self, pay_order_id: int, principal: Principal, traceparent: str) -> PayOrder:
        """Close an unpaid order of the caller's merchant; again, and the answer is the same.

        Raises:
            PayOrderNotFound, AlreadyPaid, Busy.
            AttemptNotFinal: money from elsewhere may still come.
        """
        return await self._closer.close(Closing(pay_order_id, traceparent, principal.merchant_id))

    async def read(self, pay_order_id: int, principal: Principal) -> PayOrder:
        """Return a pay order to its payer, or to its merchant with ``pay-orders:read``.

        Raises:
            PayOrderNotFound, NotThePayer.
        """
        return readable(await store.find(self._database, pay_order_id), principal)

    async def read_by_biz_order_no(self, biz_order_no: int, principal: Principal) -> PayOrder:
        """Return the pay order of a business order of the caller's merchant; see `read`.

        Raises:
            PayOrderNotFound, NotThePayer.
        """
        key = (principal.merchant_id, biz_order_no)
        return readable((await store.find_by_biz_order_nos(self._database, [key])).get(key), principal)

    async def read_many(self, biz_order_nos: Sequence[int], principal: Principal) -> list[PayOrder]:
        """Return those of these business orders that the caller's merchant has pay orders for.

        Raises:
            InsufficientScope: without ``pay-orders:read``.
        """
        principal.require("pay-orders:read")
        keys = [(principal.merchant_id, number) for number in biz_order_nos]
        return list((await store.find_by_biz_order_nos(self._database, keys)).values())


def _outcome(outcome: PayOrder | Exception) -> str:
    return getattr(outcome, "code", "internal_error") if isinstance(outcome, Exception) else "succeeded"


def readable(order: PayOrder | None, principal: Principal) -> PayOrder:
    """Return an order to its payer, or to its merchant with ``pay-orders:read``.

    Raises:
        PayOrderNotFound, NotThePayer.
    """
    if order is None:
        raise PayOrderNotFound
    if order.payer_id == principal.user_id:
        return order
    if not principal.has("pay-orders:read"):
        raise NotThePayer
    if order.merchant_id != principal.merchant_id:
        raise PayOrderNotFound
    return order
