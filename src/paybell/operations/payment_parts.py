"""What operators need of a process to look at payments and to act on them."""

from typing import Any

from paybell.operations.action_routes import action_routes
from paybell.operations.payment_actions import PaymentActions
from paybell.operations.payment_routes import payment_routes
from paybell.operations.payments import Payments
from paybell.operations.timeline import Timelines
from paybell.parts import Host
from paybell.reconciliation.pay_books import PayBooks
from paybell.reconciliation.trade_books import TradeBooks


async def payment_routers(host: Host, pay_books: PayBooks, trade_books: TradeBooks) -> list[Any]:
    """Return the routes under ``/ops/payments``, on both databases themselves."""
    pay, trade, merchant_id = (
        await host.database("pay"),
        await host.database("trade"),
        host.settings.merchant_id,
    )
    actions = PaymentActions(
        pay,
        outbox=await host.outbox(),
        ids=await host.ids("pay"),
        books=pay_books,
        trade=trade_books,
        merchant_id=merchant_id,
        releasing=host.releasing,
    )
    return [
        payment_routes(
            Payments(pay, trade, host.clock, merchant_id), Timelines(pay, trade), host.clock, merchant_id
        ),
        action_routes(actions, merchant_id),
    ]
