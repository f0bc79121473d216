"""Promise 1: a pay order is paid at most once, however often and however concurrently it is tried."""

import asyncio

import pytest
from support import PaySide, codes, connected

from paybell.pay.model import PayOrder
from paybell.storage import ConstraintViolated, Database
from paybell.wallet import ledger
from paybell.wallet.ledger import Transfer, TransferKind


async def test_fifty_concurrent_tries_debit_the_payer_once(pay_database: Database, pay_url: str) -> None:
    """One transfer, fifty identical answers."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000)
    order = await side.order(5001, "7", 100)

    answers = await asyncio.gather(*(side.attempt(order.id, "7") for _ in range(50)))

    assert all(isinstance(answer, PayOrder) and answer == answers[0] for answer in answers)
    assert await side.balance("7") == 900
    async with connected(pay_url) as rows:
        assert await rows.fetchval("SELECT count(*) FROM transfers WHERE kind = 'payment'") == 1
        assert await rows.fetchval("SELECT count(*) FROM outbox") == 1


async def test_two_processes_paying_one_order_debit_it_once(pay_database: Database) -> None:
    """Two services with batches of their own meet at the row lock."""
    first, second = PaySide(pay_database, batch_max=1), PaySide(pay_database, batch_max=1)
    await first.fund("7", 1_000)
    order = await first.order(5001, "7", 100)

    answers = await asyncio.gather(
        *(side.attempt(order.id, "7") for _ in range(10) for side in (first, second))
    )

    assert set(codes(answers)) == {"paid"}
    assert await first.balance("7") == 900


async def test_a_second_transfer_for_one_pay_order_cannot_be_written(pay_database: Database) -> None:
    """The schema refuses it, whatever the program decides."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000)
    order = await side.order(5001, "7", 100)
    await side.attempt(order.id, "7")

    async with pay_database.transaction() as tx:
        wallet = (await ledger.lock_wallets(tx, [("7", "CNY")]))["7", "CNY"]
    again = Transfer(TransferKind.PAYMENT, str(order.id), wallet.account_id, order.payee_account, 100)

    with pytest.raises(ConstraintViolated, match="transfer_once"):
        async with pay_database.transaction() as tx:
            await ledger.post(tx, [again])
    assert await side.balance("7") == 900


async def test_paying_again_later_answers_the_same(pay_database: Database) -> None:
    """Also with a password that would be wrong: nothing is debited, so nothing is asked."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000)
    order = await side.order(5001, "7", 100)

    first = await side.attempt(order.id, "7")
    again = await side.attempt(order.id, "7", "000000")

    assert first == again
