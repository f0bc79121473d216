"""What operators do to a payment: each deed once, with who did it beside it, or nothing of it."""

from typing import Any

import pytest
from serving import Client, Reply, Service, fresh_number, fresh_user, in_process
from support import PASSWORD, connected, until

from paybell.storage import load_queries

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def other_shops(http: Client, *, pay: bool = False) -> dict[str, Any]:
    """Return a pay order of 100 of another merchant, perhaps paid."""
    user, merchant = fresh_user(), f"shop-{fresh_number()}"
    await http.fund(user, 1_000)
    body = {"bizOrderNo": str(fresh_number()), "payerId": user, "amount": 100}
    shop = http.token("shop", "pay-orders:write", merchant=merchant)
    order = (await http.post("/pay-orders", shop, body)).json
    if pay:
        paying = await http.post(
            f"/pay-orders/{order['id']}/pay", http.token(user), {"payPassword": PASSWORD}
        )
        assert paying.status == 200
    return order


async def refund(http: Client, order: dict[str, Any], who: str, key: str, **body: object) -> Reply:
    """Refund as an operator."""
    token, headers = http.token(who, "ops:refund"), {"Idempotency-Key": key}
    return await http.send("POST", f"/ops/payments/{order['id']}/refund", token, body, headers=headers)


async def deeds(http: Client, who: str) -> list[tuple[str, str]]:
    """Return what an operator has done, newest first."""
    found = (await http.get("/ops/actions", http.token("carol", "ops:read"))).json["actions"]
    return [(one["action"], one["selection"]) for one in found if one["who"] == who]


async def test_an_operator_refunds_any_merchants_payment_once_for_each_key(http: Client) -> None:
    order, who = await other_shops(http, pay=True), fresh_user()

    first = await refund(http, order, who, "k", amount=40, reason="torn")
    again = await refund(http, order, who, "k", amount=40, reason="torn")
    other = await refund(http, order, who, "k", amount=50, reason="torn")
    more = await refund(http, order, who, "l", amount=61, reason="torn")

    assert (first.status, first.json["refundedAmount"]) == (201, 40)
    assert (again.content, again.headers["Idempotent-Replayed"]) == (first.content, "true")
    assert other.refusal == (422, "idempotency_key_reused")
    assert (more.refusal, more.json["refundableAmount"]) == ((409, "refund_exceeds_payment"), 60)
    assert await http.balance(order["payerId"]) == 940
    assert await deeds(http, who) == [("refund", f"40 CNY of pay order {order['id']}: torn")]


async def test_a_payments_page_says_what_can_be_done_with_it_now(http: Client) -> None:
    paid, unpaid, token = await other_shops(http, pay=True), await other_shops(http), http.token("c", "ops")

    async def possible(order: dict[str, Any]) -> tuple[int, bool, bool]:
        """How much can be given back; whether it may be closed, published again."""
        found = (await http.get(f"/ops/payments/{order['id']}", token)).json["possible"]
        return found["refundableAmount"], found["mayClose"], found["mayRepublish"]

    before = [await possible(paid), await possible(unpaid)]
    await refund(http, paid, "c", "k", amount=30, reason="torn")
    await http.post(f"/ops/payments/{unpaid['id']}/close", token)
    after = [await possible(paid), await possible(unpaid)]
    page = (await http.get(f"/ops/payments/{paid['id']}", token)).json

    assert before == [(100, False, True), (0, True, False)]
    assert after == [(70, False, True), (0, False, True)]
    assert [(one["amount"], one["reason"], one["status"]) for one in page["refunds"]] == [
        (30, "torn", "SUCCEEDED")
    ]


async def test_a_refund_needs_a_reason_a_key_and_a_paid_order(http: Client) -> None:
    order, who = await other_shops(http), fresh_user()

    replies = [
        await refund(http, order, who, "k", amount=1),
        await refund(http, order, who, "k", amount=1, reason=""),
        await refund(http, order, who, "k", amount=0, reason="torn"),
        await refund(http, order, who, " ", amount=1, reason="torn"),
        await refund(http, order, who, "k", amount=1, reason="torn"),
        await refund(http, {"id": str(fresh_number())}, who, "k", amount=1, reason="torn"),
    ]

    assert [reply.refusal[1] for reply in replies] == [
        "missing_field",
        "invalid_request",
        "invalid_amount",
        "idempotency_key_missing",
        "pay_order_not_paid",
        "pay_order_not_found",
    ]
    assert await deeds(http, who) == []


async def test_an_operator_closes_what_nobody_has_paid(http: Client) -> None:
    """Again, and the answer is the same; a paid one stays as it is."""
    order, paid, who = await other_shops(http), await other_shops(http, pay=True), fresh_user()
    token = http.token(who, "ops:refund")

    closed = [await http.post(f"/ops/payments/{order['id']}/close", token) for _ in range(2)]
    refused = await http.post(f"/ops/payments/{paid['id']}/close", token)

    assert [reply.json["status"] for reply in closed] == ["TRADE_CLOSED"] * 2
    assert refused.refusal == (409, "already_paid")
    assert await deeds(http, who) == [("close", f"pay order {order['id']}")]


async def test_republishing_brings_an_order_to_paid_of_which_everything_was_lost(
    service: Service, http: Client
) -> None:
    """Also where trade's inbox remembers the payment though its order is unpaid; the event's id stays."""
    user, who = fresh_user(), fresh_user()
    token = http.token(who, "ops:repair")
    await http.fund(user, 100)
    order, waiting = await http.order(user, 10), await http.order(user, 10)
    await http.pay(order["payOrderId"], user)
    await http.until_order(order["id"], "PAID")
    async with connected(service.urls["trade"]) as rows:
        await rows.execute(
            "UPDATE orders SET status = 'UNPAID', paid_at = NULL, version = 0 WHERE id = $1", int(order["id"])
        )

    reply = await http.post(f"/ops/payments/{order['payOrderId']}/republish", token)
    refused = await http.post(f"/ops/payments/{waiting['payOrderId']}/republish", token)

    await http.until_order(order["id"], "PAID")
    assert reply.json == {"eventId": f"{order['payOrderId']}-2"}
    assert refused.refusal == (409, "nothing_to_publish")
    assert ("republish", f"pay order {order['payOrderId']}") in await deeds(http, who)


async def test_the_ops_role_needs_no_other_process_to_act(service: Service, http: Client) -> None:
    """It works on the pay database itself; the others publish what it has written."""
    order = await other_shops(http, pay=True)
    async with in_process(service.urls, roles=frozenset({"ops"})) as alone:
        done = await refund(alone.client, order, fresh_user(), "k", amount=100, reason="torn")

    async def published() -> bool:
        found = await http.get("/ops/payments?notDelivered=true", http.token("carol", "ops:read"))
        return order["id"] not in {one["id"] for one in found.json["payments"]}

    assert done.status == 201
    await until(published)


ON_ROWS = load_queries("paybell.storage", "operator_actions.sql")["list_actions_on_rows"]
MANY = """
    INSERT INTO operator_actions (at, who, action, selection, rows)
    SELECT now(), 'dora', 'reset', 'user ' || n, ARRAY[n] FROM generate_series(1, 5000) AS n
"""


async def test_what_was_done_to_one_payment_is_found_however_much_was_done_since(own: Service) -> None:
    http, who = own.client, fresh_user()
    order, other = await other_shops(http, pay=True), await other_shops(http, pay=True)
    for one in (order, other):
        await refund(http, one, who, fresh_user(), amount=1, reason="torn")
    async with connected(own.urls["pay"]) as rows:
        await rows.execute(MANY)
        await rows.execute("ANALYZE operator_actions")
        plan = await rows.fetch(f"EXPLAIN {ON_ROWS}", 2**62, 101, [int(order["id"])])
    reader = http.token("carol", "ops:read")

    found = (await http.get(f"/ops/actions?on={order['id']}", reader)).json["actions"]
    of_a_kind = (await http.get("/ops/actions?action=refund&database=pay", reader)).json["actions"]
    nowhere = (await http.get("/ops/actions?action=refund&database=trade", reader)).json["actions"]

    assert [(one["action"], one["selection"].split(":")[0]) for one in found] == [
        ("refund", f"1 CNY of pay order {order['id']}")
    ]
    assert {one["action"] for one in of_a_kind} == {"refund"}
    assert len(of_a_kind) >= 2
    assert nowhere == []
    assert any("operator_actions_by_row" in row[0] for row in plan)
    assert (await http.get("/ops/actions?on=x", reader)).refusal == (400, "invalid_id")
