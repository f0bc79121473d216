"""Promise 9: nobody pays, reads or closes an order that is not theirs."""

import pytest
from support import PaySide, codes, payment

from paybell.errors import InsufficientScope
from paybell.pay.errors import NotThePayer, PayOrderNotFound
from paybell.pay.model import Application
from paybell.storage import Database
from paybell.tokens import Principal


async def test_only_the_payer_pays(pay_database: Database) -> None:
    """A stranger with a wallet, money and a password of their own pays with neither wallet."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000)
    await side.fund("8", 1_000)
    order = await side.order(5001, "7", 100)

    assert isinstance(await side.attempt(order.id, "8"), NotThePayer)
    assert (await side.balance("7"), await side.balance("8")) == (1_000, 1_000)


async def test_a_stranger_next_to_the_payer_in_one_batch_changes_nothing(pay_database: Database) -> None:
    """Also not when the payer's wallet is locked and known because the payer is paying."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000)
    orders = [await side.order(number, "7", 100) for number in (1, 2)]

    outcomes = await side.pay.settle_batch(
        [payment(orders[0].id, "7"), payment(orders[1].id, "8"), payment(orders[0].id, "8")]
    )

    assert codes(outcomes) == ["paid", "not_the_payer", "not_the_payer"]
    assert await side.balance("7") == 900


async def test_orders_are_shown_to_their_payer_and_their_merchant(pay_database: Database) -> None:
    """Another payer is refused; another merchant is told that there is no such order."""
    side = PaySide(pay_database)
    order = await side.order(5001, "7", 100)
    reading = frozenset({"pay-orders:read"})

    assert await side.pay.read(order.id, Principal("7", frozenset(), "2")) == order
    assert await side.pay.read(order.id, Principal("8", reading, "1")) == order
    for principal, refusal in (
        (Principal("8", frozenset(), "1"), NotThePayer),
        (Principal("8", reading, "2"), PayOrderNotFound),
    ):
        with pytest.raises(refusal):
            await side.pay.read(order.id, principal)
        with pytest.raises((refusal, PayOrderNotFound)):
            await side.pay.read_by_biz_order_no(5001, principal)
    assert await side.pay.read_many([5001], Principal("8", reading, "2")) == []
    with pytest.raises(InsufficientScope):
        await side.pay.read_many([5001], Principal("7", frozenset(), "1"))


async def test_only_its_merchant_closes_an_order(pay_database: Database) -> None:
    side = PaySide(pay_database)
    order = await side.order(5001, "7", 100)

    with pytest.raises(PayOrderNotFound):
        await side.pay.close(order.id, Principal("8", frozenset({"pay-orders:write"}), "2"), "")
    assert (await side.pay.read(order.id, Principal("7", frozenset(), "1"))).closed_at is None


async def test_a_business_number_belongs_to_its_merchant(pay_database: Database) -> None:
    """The same number of another merchant is another order, so nobody can occupy or pay it for them."""
    side = PaySide(pay_database)
    await side.fund("8", 1_000)
    order = await side.order(5001, "7", 100)
    other, _ = await side.pay.apply(Application("2", 5001, "8", 1, "CNY", "", 600))
    await side.attempt(other.id, "8")

    assert other.id != order.id
    assert other.payee_account != order.payee_account
    assert (await side.pay.read(order.id, Principal("7", frozenset(), "1"))).succeeded_at is None
