"""Promise 9: nobody forges the news of a payment."""

from collections.abc import Awaitable, Callable

import pytest
from notebook import deliveries
from relaying import Heard, listening, relay, trade_listener
from shop import Shop, shop, signed
from support import until

from paybell.messaging.events import SIGNATURE_HEADER
from paybell.messaging.failures import Chosen
from paybell.messaging.local import LocalBroker
from paybell.pay.model import Application, PayOrder
from paybell.storage import Database, Query
from paybell.telemetry.observers import ListenerObserver
from paybell.tokens import Principal
from paybell.trade.errors import OrderMismatch


async def ordered(both: Shop, *numbers: int) -> None:
    """Create orders of user 7, with money to pay them."""
    await both.pay.fund("7", 1_000)
    for number in numbers:
        await both.order(number, "7", 100)


async def pay_for(both: Shop, number: int) -> None:
    """Pay an order in the pay service; its message has not arrived yet."""
    principal = Principal("7", frozenset(), "1")
    pay_order = await both.pay.pay.read_by_biz_order_no(number, principal)
    assert isinstance(await both.pay.attempt(pay_order.id, "7"), PayOrder)


async def reasons(both: Shop) -> dict[str, tuple[str, str]]:
    """Return state and reason of what the listener could not apply."""
    return {row["event_id"]: (row["state"], row["reason"]) for row in await both.kept()}


async def relayed(
    both: Shop, heard: Callable[[], Awaitable[bool]], observer: ListenerObserver | None = None
) -> None:
    """Publish what pay has to say, until the order service has heard it."""
    broker = LocalBroker()
    async with listening(trade_listener(both, broker, observer)):
        await relay(both.pay.outbox, broker).run_once()
        await until(heard)


async def test_another_merchants_payment_of_the_same_number_marks_nothing_paid(
    pay_database: Database, trade_database: Database
) -> None:
    """Theirs is counted and acknowledged, and is nobody's trouble; and when our payer pays, it is applied."""
    async with shop(pay_database, trade_database) as both:
        await ordered(both, 1)
        await both.pay.fund("8", 1_000)
        theirs, _ = await both.pay.pay.apply(Application("2", 1, "8", 100, "CNY", "", 600))
        assert isinstance(await both.pay.attempt(theirs.id, "8"), PayOrder)

        observer = Heard()

        async def ignored() -> bool:
            return observer.of_others == 1

        await relayed(both, ignored, observer)
        assert await both.statuses() == {1: "UNPAID"}
        assert not await both.kept()
        assert not await trade_database.fetch(Query("SELECT * FROM inbox"))

        await pay_for(both, 1)

        async def marked() -> bool:
            return await both.statuses() == {1: "PAID"}

        await relayed(both, marked)


@pytest.mark.parametrize("believed", [signed(1, 1), None], ids=["signed", "unsigned"])
async def test_less_than_was_ordered_marks_nothing_paid(
    pay_database: Database, trade_database: Database, believed: str | None
) -> None:
    """Whoever made the pay order first chose its amount."""
    async with shop(pay_database, trade_database) as both:
        await both.pay.fund("7", 1_000)
        cheap = await both.pay.order(1, "7", 1)
        with pytest.raises(OrderMismatch):
            await both.order(1, "7", 100)
        assert isinstance(await both.pay.attempt(cheap.id, "7"), PayOrder)
        await both.hear((1, believed))

        assert await both.statuses() == {1: "UNPAID"}
        assert await reasons(both) == {"pay.success:1": ("dead", "amount_mismatch")}


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "0" * 64,
        signed(1, secret="somebody else's secret, of 32 bytes"),
        signed(2),
        signed(1, merchant_id="2"),
        signed(1, amount=99),
        signed(1).upper(),
        signed(1)[:-1],
        "\N{SNOWMAN}\ud800",
    ],
    ids=[
        "none",
        "empty",
        "zeros",
        "other secret",
        "other order",
        "other merchant",
        "less",
        "upper case",
        "cut",
        "not ascii",
    ],
)
async def test_a_forged_message_marks_nothing_paid(
    pay_database: Database, trade_database: Database, signature: str | None
) -> None:
    """Pay is asked, knows of no payment, and the message is kept for a person."""
    async with shop(pay_database, trade_database) as both:
        await ordered(both, 1, 2)
        await both.hear((1, signature), (2, signed(2)))

        assert await both.statuses() == {1: "UNPAID", 2: "PAID"}
        assert await reasons(both) == {"pay.success:1": ("dead", "not_paid")}


async def test_a_signature_that_is_no_text_proves_nothing(
    pay_database: Database, trade_database: Database
) -> None:
    """AMQP headers have types."""
    async with shop(pay_database, trade_database) as both:
        await ordered(both, 1, 2, 3)
        for number, header in ((1, signed(1).encode()), (2, True), (3, [signed(3)])):
            await both.runner.apply(deliveries(number, headers={SIGNATURE_HEADER: header}))

        assert set((await both.statuses()).values()) == {"UNPAID"}


async def test_an_unsigned_message_of_a_real_payment_is_applied(
    pay_database: Database, trade_database: Database
) -> None:
    """The article's own pay service signs nothing; pay is asked over HTTP and confirms."""
    async with shop(pay_database, trade_database) as both:
        await ordered(both, 1, 2, 3)
        await pay_for(both, 1)
        await pay_for(both, 3)
        await both.hear((1, None), (2, None), (3, "forged"), (4, None))

        assert await both.statuses() == {1: "PAID", 2: "UNPAID", 3: "PAID"}
        assert await reasons(both) == {
            "pay.success:2": ("dead", "not_paid"),
            "pay.success:4": ("dead", "not_paid"),
        }


async def test_a_forged_message_does_not_stand_in_the_way_of_the_real_one(
    pay_database: Database, trade_database: Database
) -> None:
    """The inbox remembers nothing of it, and its replay after the payment is applied once."""
    async with shop(pay_database, trade_database) as both:
        await ordered(both, 1, 2)
        await both.hear((1, None), (2, None))
        await pay_for(both, 1)
        await pay_for(both, 2)
        await both.hear((1, signed(1)))
        assert await both.statuses() == {1: "PAID", 2: "UNPAID"}

        assert await both.failures.replay(Chosen(), "operator") == 2
        assert await both.runner.retry_once() == 2
        assert await both.statuses() == {1: "PAID", 2: "PAID"}
        assert await both.kept() == []


async def test_a_claimed_event_id_cannot_silence_another_order(
    pay_database: Database, trade_database: Database
) -> None:
    """What the sender calls its event is no part of what the inbox knows it by."""
    async with shop(pay_database, trade_database) as both:
        await ordered(both, 1, 2)
        for number in (1, 2):
            headers = {"cloudEvents:id": "the same", SIGNATURE_HEADER: signed(number)}
            await both.runner.apply(deliveries(number, headers=headers))

        assert await both.statuses() == {1: "PAID", 2: "PAID"}


async def test_not_knowing_is_not_the_same_as_unpaid(
    pay_database: Database, trade_database: Database
) -> None:
    """While pay does not answer an unsigned message waits for its next try; a signed one needs nobody."""
    async with shop(pay_database, trade_database) as both:
        await ordered(both, 1, 2)
        await pay_for(both, 1)
        url, both.client._pay._url = both.client._pay._url, "http://127.0.0.1:1"
        await both.hear((1, None), (2, signed(2)))

        assert await both.statuses() == {1: "UNPAID", 2: "PAID"}
        assert await reasons(both) == {"pay.success:1": ("retry", "pay_service_unavailable")}

        both.client._pay._url = url
        await trade_database.fetch(Query("UPDATE failed_deliveries SET due_at = now() RETURNING id"))
        assert await both.runner.retry_once() == 1
        assert await both.statuses() == {1: "PAID", 2: "PAID"}
        assert await both.kept() == []
