"""The contract of ``/pay-orders``."""

import asyncio
import re

import pytest
from serving import Client, Service, fresh_number, fresh_user
from support import PASSWORD, connected

pytestmark = pytest.mark.asyncio(loop_scope="session")

RFC3339_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


async def test_a_pay_order_shows_ids_as_strings_amounts_as_integers_and_times_in_utc(http: Client) -> None:
    """JavaScript cannot hold 64-bit numbers."""
    number, user = fresh_number(), fresh_user()
    body = {"bizOrderNo": str(number), "payerId": user, "amount": 1177, "subject": "一本书 📕"}

    reply = await http.post("/pay-orders", http.token("shop", "pay-orders:write"), body)

    assert reply.status == 201
    order = reply.json
    assert re.fullmatch(r"[1-9]\d{5,18}", order["payOrderId"])
    assert order == {
        "id": order["payOrderId"],
        "payOrderId": order["payOrderId"],
        "bizOrderNo": str(number),
        "merchantId": "1",
        "payerId": user,
        "amount": 1177,
        "currency": "CNY",
        "subject": "一本书 📕",
        "status": "WAIT_BUYER_PAY",
        "statusCode": 1,
        "version": 1,
        "createdAt": order["createdAt"],
        "expiresAt": order["expiresAt"],
        "succeededAt": None,
        "closedAt": None,
        "refundedAmount": 0,
        "channel": None,
    }
    assert RFC3339_UTC.fullmatch(order["createdAt"])
    assert RFC3339_UTC.fullmatch(order["expiresAt"])


async def test_the_same_application_again_is_the_same_order(http: Client) -> None:
    """201 for the first, 200 from then on; what does not change the debt may differ."""
    body = {"bizOrderNo": str(fresh_number()), "payerId": fresh_user(), "amount": 5}
    first = await http.post("/pay-orders", http.shop, body)

    again = await http.post("/pay-orders", http.shop, body)
    other_words = await http.post("/pay-orders", http.shop, body | {"subject": "x", "expiresInSeconds": 60})

    assert (first.status, again.status, other_words.status) == (201, 200, 200)
    assert first.content == again.content == other_words.content


async def test_twenty_applications_at_once_make_one_order(http: Client) -> None:
    body = {"bizOrderNo": str(fresh_number()), "payerId": fresh_user(), "amount": 5}

    replies = await asyncio.gather(*(http.post("/pay-orders", http.shop, body) for _ in range(20)))

    assert sorted(reply.status for reply in replies) == [200] * 19 + [201]
    assert len({reply.json["payOrderId"] for reply in replies}) == 1


@pytest.mark.parametrize("change", [{"amount": 6}, {"payerId": "somebody-else"}, {"currency": "USD"}])
async def test_another_debt_under_the_same_number_is_a_mismatch(
    http: Client, change: dict[str, object]
) -> None:
    body = {"bizOrderNo": str(fresh_number()), "payerId": fresh_user(), "amount": 5}
    await http.post("/pay-orders", http.shop, body)

    assert (await http.post("/pay-orders", http.shop, body | change)).refusal == (409, "pay_order_mismatch")


async def test_a_mismatch_wins_over_paid_and_tells_nothing_of_the_order(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, 100)
    order = await http.apply(user)
    await http.pay(order["id"], user)
    body = {"bizOrderNo": order["bizOrderNo"], "payerId": user, "amount": 99}

    reply = await http.post("/pay-orders", http.shop, body)

    assert reply.refusal == (409, "pay_order_mismatch")
    assert "payOrderId" not in reply.json


async def test_applying_for_a_paid_or_closed_order_says_so_and_which(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, 100)
    paid, closed = await http.apply(user), await http.apply(user)
    await http.pay(paid["id"], user)
    await http.post(f"/pay-orders/{closed['id']}/close", http.shop)

    replies = [
        await http.post(
            "/pay-orders",
            http.shop,
            {"bizOrderNo": order["bizOrderNo"], "payerId": user, "amount": order["amount"]},
        )
        for order in (paid, closed)
    ]

    assert [reply.refusal for reply in replies] == [(409, "already_paid"), (409, "pay_order_closed")]
    assert [reply.json["payOrderId"] for reply in replies] == [paid["id"], closed["id"]]


async def test_two_merchants_may_use_the_same_number(http: Client) -> None:
    """Each sees its own order under it, one by one and in lists."""
    body = {"bizOrderNo": str(fresh_number()), "payerId": fresh_user(), "amount": 5}
    scopes = ("pay-orders:write", "pay-orders:read")
    ours, theirs = http.token("shop", *scopes), http.token("other", *scopes, merchant="other-shop")

    first = await http.post("/pay-orders", ours, body)
    second = await http.post("/pay-orders", theirs, body | {"amount": 6})

    assert (first.status, second.status) == (201, 201)
    assert (first.json["merchantId"], second.json["merchantId"]) == ("1", "other-shop")
    for token, order in ((ours, first.json), (theirs, second.json)):
        assert (await http.get(f"/pay-orders/biz/{body['bizOrderNo']}", token)).json == order
        listed = await http.get(f"/pay-orders?bizOrderNos={body['bizOrderNo']}", token)
        assert listed.json == {"payOrders": [order]}


async def test_an_order_is_read_by_either_of_its_numbers(http: Client) -> None:
    user = fresh_user()
    order = await http.apply(user)

    for path in (f"/pay-orders/{order['id']}", f"/pay-orders/biz/{order['bizOrderNo']}"):
        assert (await http.get(path, http.token(user))).json == order
        assert (await http.get(path, http.token("clerk", "pay-orders:read"))).json == order


async def test_orders_nobody_made_are_not_found(http: Client) -> None:
    number, clerk = fresh_number(), http.token("clerk", "pay-orders:read")

    assert (await http.get(f"/pay-orders/{number}", clerk)).refusal == (404, "pay_order_not_found")
    assert (await http.get(f"/pay-orders/biz/{number}", clerk)).refusal == (404, "pay_order_not_found")
    assert (await http.get(f"/pay-orders?bizOrderNos={number}", clerk)).json == {"payOrders": []}
    assert (await http.pay(str(number), fresh_user())).refusal == (404, "pay_order_not_found")
    closing = await http.post(f"/pay-orders/{number}/close", http.shop)
    assert closing.refusal == (404, "pay_order_not_found")


async def test_up_to_200_orders_are_read_at_once(http: Client) -> None:
    order = await http.apply(fresh_user())
    numbers = [order["bizOrderNo"], *(str(fresh_number()) for _ in range(199))]
    clerk = http.token("clerk", "pay-orders:read")

    whole = await http.get(f"/pay-orders?bizOrderNos={','.join(numbers)}", clerk)
    too_many = await http.get(f"/pay-orders?bizOrderNos={','.join([*numbers, '1'])}", clerk)

    assert whole.json == {"payOrders": [order]}
    assert too_many.refusal == (400, "invalid_request")
    assert too_many.json["field"] == "bizOrderNos"


async def test_paying_debits_the_wallet_and_marks_the_order(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, 1_000)
    order = await http.apply(user, 300)

    reply = await http.pay(order["id"], user)

    assert reply.status == 200
    assert reply.json == order | {
        "status": "TRADE_SUCCESS",
        "statusCode": 3,
        "version": 2,
        "channel": "balance",
        "succeededAt": reply.json["succeededAt"],
    }
    assert RFC3339_UTC.fullmatch(reply.json["succeededAt"])
    assert await http.balance(user) == 700


async def test_paying_again_is_the_same_200(http: Client) -> None:
    """The payer who never got the answer asks again and gets it, byte for byte."""
    user = fresh_user()
    await http.fund(user, 1_000)
    order = await http.apply(user, 300)

    first, again = await http.pay(order["id"], user), await http.pay(order["id"], user)

    assert (first.status, again.status) == (200, 200)
    assert first.content == again.content
    assert await http.balance(user) == 700


async def test_fifty_tries_at_once_get_fifty_identical_answers(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, 1_000)
    order = await http.apply(user, 300)

    replies = await asyncio.gather(*(http.pay(order["id"], user) for _ in range(50)))

    assert {(reply.status, reply.content) for reply in replies} == {(200, replies[0].content)}
    assert await http.balance(user) == 700


async def test_two_hundred_payments_of_1_from_100_are_one_hundred(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, 100)
    orders = await asyncio.gather(*(http.apply(user, 1) for _ in range(200)))

    replies = await asyncio.gather(*(http.pay(order["id"], user) for order in orders))

    paid = [reply for reply in replies if reply.status == 200]
    refused = [reply.refusal for reply in replies if reply.status != 200]
    assert len(paid) == 100
    assert set(refused) == {(402, "insufficient_balance")}
    assert await http.balance(user) == 0


async def test_money_is_taken_out_of_the_wallet_of_the_orders_currency(http: Client) -> None:
    """Dollars do not pay for yuan, however many there are."""
    user = fresh_user()
    await http.fund(user, 1_000, "USD")
    yuan, dollars = await http.apply(user, 10), await http.apply(user, 10, currency="USD")

    assert (await http.pay(yuan["id"], user)).refusal == (404, "wallet_not_found")
    assert (await http.pay(dollars["id"], user)).status == 200
    assert await http.balance(user) == 990


async def test_a_payment_without_enough_balance_changes_nothing(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, 99)
    order = await http.apply(user, 100)

    assert (await http.pay(order["id"], user)).refusal == (402, "insufficient_balance")
    assert (await http.get(f"/pay-orders/{order['id']}", http.token(user))).json == order
    await http.top_up(user, 1, "more")
    assert (await http.pay(order["id"], user)).status == 200


async def test_five_wrong_passwords_lock_the_wallet_and_say_until_when(http: Client) -> None:
    """The count is told, and the right password does not help any more."""
    user = fresh_user()
    await http.fund(user, 100)
    order = await http.apply(user, 100)

    wrong = [await http.pay(order["id"], user, "000000") for _ in range(5)]
    locked = await http.pay(order["id"], user)

    assert [reply.refusal for reply in wrong] == [(403, "wrong_pay_password")] * 5
    assert [reply.json["triesLeft"] for reply in wrong] == [4, 3, 2, 1, 0]
    assert locked.refusal == (423, "pay_password_locked")
    assert RFC3339_UTC.fullmatch(locked.json["lockedUntil"])
    wallet = (await http.get(f"/wallets/{user}", http.token(user))).json
    assert wallet["lockedUntil"].startswith(locked.json["lockedUntil"].removesuffix("Z"))
    assert await http.balance(user) == 100


async def test_somebody_elses_wrong_passwords_do_not_lock_the_payer_out(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, 100)
    order = await http.apply(user, 100)
    stranger = fresh_user()
    await http.fund(stranger, 100)

    replies = [await http.pay(order["id"], stranger, "000000") for _ in range(6)]

    assert {reply.refusal for reply in replies} == {(403, "not_the_payer")}
    assert (await http.pay(order["id"], user)).status == 200


async def test_an_order_whose_time_has_run_out_is_closed_to_payment(http: Client, service: Service) -> None:
    user = fresh_user()
    await http.fund(user, 100)
    order = await http.apply(user, 100, expiresInSeconds=1)
    async with connected(service.urls["pay"]) as rows:
        await rows.execute(
            "UPDATE pay_orders SET created_at = created_at - interval '1 hour', "
            "expires_at = expires_at - interval '1 hour' WHERE id = $1",
            int(order["id"]),
        )

    reply = await http.pay(order["id"], user)
    again = {"bizOrderNo": order["bizOrderNo"], "payerId": user, "amount": 100}

    assert reply.refusal == (409, "pay_order_closed")
    assert await http.balance(user) == 100
    assert (await http.post("/pay-orders", http.shop, again)).refusal == (409, "pay_order_closed")


@pytest.mark.parametrize("seconds", [0, -1, 2_592_001])
async def test_a_deadline_lies_within_a_month(http: Client, seconds: int) -> None:
    body = {"bizOrderNo": str(fresh_number()), "payerId": "7", "amount": 5, "expiresInSeconds": seconds}

    reply = await http.post("/pay-orders", http.shop, body)

    assert reply.refusal == (400, "invalid_request")
    assert reply.json["field"] == "expiresInSeconds"


async def test_closing_is_final_and_repeatable(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, 100)
    order = await http.apply(user, 100)
    closer = http.token("shop", "pay-orders:write")

    first = await http.post(f"/pay-orders/{order['id']}/close", closer)
    again = await http.post(f"/pay-orders/{order['id']}/close", closer)

    assert (first.status, again.status) == (200, 200)
    assert first.content == again.content
    assert (first.json["status"], first.json["statusCode"], first.json["version"]) == ("TRADE_CLOSED", 2, 2)
    assert RFC3339_UTC.fullmatch(first.json["closedAt"])
    assert (await http.pay(order["id"], user)).refusal == (409, "pay_order_closed")
    assert await http.balance(user) == 100


async def test_a_paid_order_cannot_be_closed(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, 100)
    order = await http.apply(user, 100)
    paid = await http.pay(order["id"], user)

    assert (await http.post(f"/pay-orders/{order['id']}/close", http.shop)).refusal == (409, "already_paid")
    assert (await http.get(f"/pay-orders/{order['id']}", http.token(user))).json == paid.json


async def test_payments_and_closes_at_once_leave_one_outcome(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, 1_000)
    orders = [await http.apply(user, 100) for _ in range(5)]

    async def race(order_id: str) -> tuple[int, int, str]:
        paying, closing = await asyncio.gather(
            http.pay(order_id, user), http.post(f"/pay-orders/{order_id}/close", http.shop)
        )
        shown = await http.get(f"/pay-orders/{order_id}", http.shop)
        return paying.status, closing.status, shown.json["status"]

    outcomes = await asyncio.gather(*(race(order["id"]) for order in orders))

    assert set(outcomes) <= {(200, 409, "TRADE_SUCCESS"), (409, 200, "TRADE_CLOSED")}
    paid = sum(paying == 200 for paying, _, _ in outcomes)
    assert await http.balance(user) == 1_000 - 100 * paid


async def test_refusals_are_problem_documents_in_the_callers_language(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, 100)
    order = await http.apply(user, 100)
    await http.post(f"/pay-orders/{order['id']}/close", http.shop)
    path, body = f"/pay-orders/{order['id']}/pay", {"payPassword": PASSWORD}

    replies = {
        language: await http.send(
            "POST", path, http.token(user), body, headers={"Accept-Language": language} if language else {}
        )
        for language in (
            "",
            "en-GB",
            "zh-CN,zh;q=0.9,en;q=0.8",
            "en;q=0.5, zh;q=0.9",
            "de, zh;q=0.1",
            "de",
            "*",
        )
    }

    assert {reply.refusal for reply in replies.values()} == {(409, "pay_order_closed")}
    chinese = [reply for reply in replies.values() if reply.headers["Content-Language"] == "zh"]
    assert [language for language, reply in replies.items() if reply in chinese] == [
        "zh-CN,zh;q=0.9,en;q=0.8",
        "en;q=0.5, zh;q=0.9",
        "de, zh;q=0.1",
    ]
    assert {reply.json["detail"] for reply in chinese} == {"交易已支付或关闭"}
    assert replies[""].json == {
        "type": "urn:paybell:problem:pay_order_closed",
        "title": "Pay order closed",
        "status": 409,
        "code": "pay_order_closed",
        "detail": "The pay order is closed or its time has run out; create a new order.",
        "payOrderId": order["id"],
    }
    assert all(reply.headers["Vary"] == "Accept-Language" for reply in replies.values())


async def test_another_merchant_cannot_put_its_order_before_ours_under_one_number(http: Client) -> None:
    """The token's merchant decides which order a business number names, for the payer too."""
    user, thief = fresh_user(), http.token("thief", "pay-orders:write", "pay-orders:read", merchant="thieves")
    ours = await http.apply(user)
    path = f"/pay-orders/biz/{ours['bizOrderNo']}"
    body = {"bizOrderNo": ours["bizOrderNo"], "payerId": user, "amount": 1}

    theirs = await http.post("/pay-orders", thief, body)

    assert theirs.status == 201
    for token in (http.token(user), http.shop):
        assert (await http.get(path, token)).json == ours
    for token in (http.token(user, merchant="thieves"), thief):
        assert (await http.get(path, token)).json == theirs.json
