"""How money from elsewhere is entered: from the channel's clearing account, in the ledger's one way."""

from paybell.channels.attempt import Attempt
from paybell.messaging.events import PAY_SUCCESS
from paybell.messaging.outbox import Outbox
from paybell.pay import store as pay_orders
from paybell.pay.model import PayOrder
from paybell.storage import Transaction
from paybell.wallet import ledger
from paybell.wallet.ledger import Transfer, TransferKind

# Beside a channel's clearing account: what came from it and goes back.
_RETURNS = "{channel}:returns"


async def clearing_account(tx: Transaction, channel: str, currency: str) -> int:
    """Return the account that stands for a channel's money."""
    return await ledger.system_account(tx, "clearing", channel, currency)


async def returns_account(tx: Transaction, channel: str, currency: str) -> int:
    """Return the account of what came from a channel twice or late."""
    return await ledger.system_account(tx, "clearing", _RETURNS.format(channel=channel), currency)


async def enter_payment(tx: Transaction, outbox: Outbox, attempt: Attempt, order: PayOrder) -> PayOrder:
    """Pay an order that is locked with the money of an attempt: transfer, status and event at once."""
    clearing = await clearing_account(tx, attempt.channel, attempt.currency)
    paid = order.pay(tx.now, attempt.channel)
    await ledger.post(
        tx,
        [Transfer(TransferKind.PAYMENT, str(order.id), clearing, order.payee_account, attempt.amount)],
    )
    await pay_orders.mark_received(tx, paid)
    await outbox.append(tx, [paid.event(PAY_SUCCESS, tx.now, attempt.traceparent)])
    return paid


async def enter_receipt(tx: Transaction, attempt: Attempt) -> None:
    """Put money aside that came twice or late."""
    accounts = (
        await clearing_account(tx, attempt.channel, attempt.currency),
        await returns_account(tx, attempt.channel, attempt.currency),
    )
    await ledger.post(tx, [Transfer(TransferKind.RECEIPT, str(attempt.id), *accounts, attempt.amount)])


async def enter_return(tx: Transaction, attempt: Attempt) -> None:
    """Let that money go back where it came from."""
    accounts = (
        await returns_account(tx, attempt.channel, attempt.currency),
        await clearing_account(tx, attempt.channel, attempt.currency),
    )
    await ledger.post(tx, [Transfer(TransferKind.RETURN, str(attempt.id), *accounts, attempt.amount)])
