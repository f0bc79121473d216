"""The contract of ``/orders``, the order service's own routes."""

import asyncio
import re
import socket
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from serving import SETTINGS, Client, fresh_databases, fresh_number, fresh_user, in_process
from support import Databases, connected, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

RFC3339_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


async def test_a_new_order_is_unpaid_and_has_a_pay_order_for_its_fee(http: Client) -> None:
    """The amount comes from the order, the payer is its buyer."""
    user = fresh_user()
    body = {"buyerId": user, "totalFee": 1177, "subject": "一本书"}

    reply = await http.post("/orders", http.token("shop", "orders:write"), body)

    assert reply.status == 201
    order = reply.json
    assert order == {
        "id": order["id"],
        "orderId": order["id"],
        "buyerId": user,
        "totalFee": 1177,
        "currency": "CNY",
        "subject": "一本书",
        "status": "UNPAID",
        "payOrderId": order["payOrderId"],
        "createdAt": order["createdAt"],
        "paidAt": None,
        "cancelledAt": None,
        "refundedAmount": 0,
    }
    assert re.fullmatch(r"[1-9]\d{5,18}", order["id"])
    assert RFC3339_UTC.fullmatch(order["createdAt"])
    pay_order = (await http.get(f"/pay-orders/{order['payOrderId']}", http.token(user))).json
    assert (pay_order["bizOrderNo"], pay_order["payerId"], pay_order["amount"], pay_order["subject"]) == (
        order["id"],
        user,
        1177,
        "一本书",
    )


async def test_a_paid_order_is_marked_paid_by_message_alone(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, 1_000)
    order = await http.order(user, 300)

    await http.pay(order["payOrderId"], user)
    await http.until_order(order["id"], "PAID")

    shown = (await http.get(f"/orders/{order['id']}", http.token(user))).json
    assert shown == order | {"status": "PAID", "paidAt": shown["paidAt"]}
    assert RFC3339_UTC.fullmatch(shown["paidAt"])


async def test_the_same_order_id_again_is_the_same_order(http: Client) -> None:
    """201 for the first, 200 from then on; also when it has been paid meanwhile."""
    user, number = fresh_user(), str(fresh_number())
    await http.fund(user, 1_000)
    body = {"buyerId": user, "totalFee": 300, "orderId": number}

    first = await http.post("/orders", http.shop, body)
    again = await http.post("/orders", http.shop, body)
    await http.pay(first.json["payOrderId"], user)
    await http.until_order(number, "PAID")
    paid = await http.post("/orders", http.shop, body)

    assert (first.status, again.status, paid.status) == (201, 200, 200)
    assert first.json["id"] == number
    assert first.content == again.content
    assert paid.json["status"] == "PAID"


async def test_twenty_requests_at_once_for_one_order_id_make_one_order(http: Client) -> None:
    body = {"buyerId": fresh_user(), "totalFee": 300, "orderId": str(fresh_number())}

    replies = await asyncio.gather(*(http.post("/orders", http.shop, body) for _ in range(20)))

    assert sorted(reply.status for reply in replies) == [200] * 19 + [201]
    assert len({reply.json["payOrderId"] for reply in replies}) == 1


@pytest.mark.parametrize("change", [{"totalFee": 301}, {"buyerId": "somebody-else"}, {"currency": "USD"}])
async def test_another_order_under_the_same_id_is_a_mismatch(http: Client, change: dict[str, object]) -> None:
    body = {"buyerId": fresh_user(), "totalFee": 300, "orderId": str(fresh_number())}
    await http.post("/orders", http.shop, body)

    assert (await http.post("/orders", http.shop, body | change)).refusal == (409, "order_mismatch")


async def test_a_number_that_pay_knows_with_another_debt_is_a_mismatch(http: Client) -> None:
    """Somebody applied for the number directly, for another amount."""
    pay_order = await http.apply(fresh_user(), 5)
    body = {"buyerId": pay_order["payerId"], "totalFee": 6, "orderId": pay_order["bizOrderNo"]}

    assert (await http.post("/orders", http.shop, body)).refusal == (409, "order_mismatch")


async def test_a_number_whose_pay_order_is_closed_cannot_be_ordered(http: Client) -> None:
    pay_order = await http.apply(fresh_user(), 5)
    await http.post(f"/pay-orders/{pay_order['id']}/close", http.shop)
    body = {"buyerId": pay_order["payerId"], "totalFee": 5, "orderId": pay_order["bizOrderNo"]}

    assert (await http.post("/orders", http.shop, body)).refusal == (409, "pay_order_closed")


async def test_cancelling_closes_the_pay_order_and_is_repeatable(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, 1_000)
    order = await http.order(user, 300)

    first = await http.post(f"/orders/{order['id']}/cancel", http.token(user))
    again = await http.post(f"/orders/{order['id']}/cancel", http.token(user))

    assert (first.status, again.status) == (200, 200)
    assert first.content == again.content
    assert first.json == order | {"status": "CANCELLED", "cancelledAt": first.json["cancelledAt"]}
    assert RFC3339_UTC.fullmatch(first.json["cancelledAt"])
    assert (await http.pay(order["payOrderId"], user)).refusal == (409, "pay_order_closed")
    assert await http.balance(user) == 1_000


async def test_a_shop_may_cancel_for_its_buyer(http: Client) -> None:
    order = await http.order(fresh_user())

    reply = await http.post(f"/orders/{order['id']}/cancel", http.token("shop", "orders:write"))

    assert reply.json["status"] == "CANCELLED"


async def test_a_paid_order_cannot_be_cancelled(http: Client) -> None:
    """Neither before the order service has heard of the payment nor after it."""
    user = fresh_user()
    await http.fund(user, 1_000)
    order = await http.order(user, 300)
    await http.pay(order["payOrderId"], user)

    early = await http.post(f"/orders/{order['id']}/cancel", http.token(user))
    await http.until_order(order["id"], "PAID")
    late = await http.post(f"/orders/{order['id']}/cancel", http.token(user))

    assert (early.refusal, late.refusal) == ((409, "already_paid"), (409, "already_paid"))


async def test_payments_and_cancels_at_once_leave_one_outcome(http: Client) -> None:
    """Money moved exactly for the orders that end as paid."""
    user = fresh_user()
    await http.fund(user, 1_000)
    orders = [await http.order(user, 100) for _ in range(5)]

    async def race(order: dict[str, str]) -> tuple[int, int]:
        paying, cancelling = await asyncio.gather(
            http.pay(order["payOrderId"], user), http.post(f"/orders/{order['id']}/cancel", http.token(user))
        )
        return paying.status, cancelling.status

    outcomes = await asyncio.gather(*(race(order) for order in orders))

    assert set(outcomes) <= {(200, 409), (409, 200)}
    for order, (paying, _) in zip(orders, outcomes, strict=True):
        await http.until_order(order["id"], "PAID" if paying == 200 else "CANCELLED")
    assert await http.balance(user) == 1_000 - 100 * sum(paying == 200 for paying, _ in outcomes)


async def test_orders_nobody_made_are_not_found(http: Client) -> None:
    number, clerk = fresh_number(), http.token("clerk", "orders:read", "orders:write")

    assert (await http.get(f"/orders/{number}", clerk)).refusal == (404, "order_not_found")
    assert (await http.post(f"/orders/{number}/cancel", clerk)).refusal == (404, "order_not_found")
    assert (await http.get(f"/orders?ids={number}", clerk)).json == {"orders": []}


async def test_up_to_200_orders_are_read_at_once(http: Client) -> None:
    orders = [await http.order(fresh_user()) for _ in range(2)]
    ids = [order["id"] for order in orders] + [str(fresh_number()) for _ in range(198)]
    clerk = http.token("clerk", "orders:read")

    whole = await http.get(f"/orders?ids={','.join(ids)}", clerk)
    too_many = await http.get(f"/orders?ids={','.join([*ids, '1'])}", clerk)

    assert {order["id"] for order in whole.json["orders"]} == {order["id"] for order in orders}
    assert too_many.refusal == (400, "invalid_request")


async def test_an_order_made_while_pay_was_away_is_completed_by_asking_again(
    postgres: Databases, http: Client
) -> None:
    """Our own row comes first; the same request with the same orderId finds its pay order later."""
    urls = await fresh_databases(postgres)
    away, back = (replace(SETTINGS, pay_url=url) for url in ("http://127.0.0.1:9", http.url))
    user, number = fresh_user(), str(fresh_number())
    body = {"buyerId": user, "totalFee": 300, "orderId": number}

    async with in_process(urls, away) as lonely:
        refused = await lonely.client.post("/orders", lonely.client.shop, body)
        kept = await lonely.client.get(f"/orders/{number}", lonely.client.token(user))
    async with in_process(urls, back) as again:
        completed = await again.client.post("/orders", again.client.shop, body)

    assert refused.refusal == (503, "pay_service_unavailable")
    assert refused.headers["Retry-After"] == "1"
    assert (kept.json["status"], kept.json["payOrderId"]) == ("UNPAID", None)
    assert completed.status == 200
    assert completed.json["payOrderId"] is not None


async def test_an_order_in_flight_at_the_end_is_still_completed(postgres: Databases) -> None:
    """It needs the pay service of the same process, which therefore stops answering last."""
    urls = await fresh_databases(postgres)
    ending = AsyncExitStack()
    client = (await ending.enter_async_context(in_process(urls))).client
    async with connected(urls["trade"]) as other, connected(urls["trade"]) as watching:
        held = other.transaction()
        await held.start()
        await other.execute("LOCK TABLE orders IN SHARE MODE")
        request = asyncio.create_task(client.post("/orders", client.shop, {"buyerId": "7", "totalFee": 300}))

        async def in_flight() -> bool:
            return bool(
                await watching.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode LIKE 'Row%'"
                )
            )

        async def refuses() -> bool:
            # Without a connection: asyncio loses one accepted just as its server ends (gh-109564).
            with socket.socket() as beside:
                beside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    beside.bind(("127.0.0.1", int(client.url.rpartition(":")[2])))
                except OSError:
                    return False
            return True

        await until(in_flight)
        end = asyncio.create_task(ending.aclose())
        await until(refuses)
        await held.rollback()
        reply = await request
    await end

    assert reply.status == 201
    assert reply.json["payOrderId"] is not None


async def test_an_order_id_that_was_cancelled_is_refused(http: Client) -> None:
    """With or without a pay order: it cannot be paid any more."""
    order = await http.order(fresh_user())
    assert (await http.post(f"/orders/{order['id']}/cancel", http.shop, None)).status == 200

    again = {"orderId": order["id"], "buyerId": order["buyerId"], "totalFee": order["totalFee"]}

    assert (await http.post("/orders", http.shop, again)).refusal == (409, "order_cancelled")
