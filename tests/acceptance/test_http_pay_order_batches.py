"""The contract of ``POST /pay-orders/batch``: as many requests in one, each answered as if it were alone."""

import json
from typing import Any

import pytest
from serving import Client, fresh_number, fresh_user
from support import PASSWORD

from paybell.web.bodies import BATCH_BODY_MAX

pytestmark = pytest.mark.asyncio(loop_scope="session")


def application(**more: object) -> dict[str, Any]:
    """What a new pay order takes."""
    return {"bizOrderNo": str(fresh_number()), "payerId": fresh_user(), "amount": 5, **more}


async def batch(http: Client, *applications: object, token: str = "") -> list[dict[str, Any]]:
    """Apply; return the answers."""
    reply = await http.post("/pay-orders/batch", token or http.shop, {"payOrders": applications})
    assert reply.status == 200, reply.content
    answers: list[dict[str, Any]] = reply.json["answers"]
    return answers


async def test_each_is_answered_as_if_it_were_alone(http: Client) -> None:
    there, paid, user = application(), application(), fresh_user()
    paid["payerId"] = user
    await http.fund(user, 5)
    pay_order = (await http.post("/pay-orders", http.shop, paid)).json
    assert (await http.pay(pay_order["id"], user, PASSWORD)).status == 200
    first = await http.post("/pay-orders", http.shop, there)

    new = application()
    asked = [new, there, there | {"amount": 6}, paid, new, new | {"currency": "XXX"}]
    answers = await batch(http, *asked)

    assert [answer["status"] for answer in answers] == [201, 200, 409, 409, 200, 400]
    assert answers[0]["payOrder"] == answers[4]["payOrder"]
    assert answers[0]["payOrder"]["bizOrderNo"] == new["bizOrderNo"]
    assert answers[1]["payOrder"] == first.json
    alone = [(await http.post("/pay-orders", http.shop, one)).json for one in asked]
    assert [answer["problem"] for answer in answers if "problem" in answer] == [alone[2], alone[3], alone[5]]
    assert answers[3]["problem"]["payOrderId"] == pay_order["id"]


WRONG: dict[str, object] = {
    "invalid_amount": application(amount="5"),
    "invalid_id": application(bizOrderNo="0"),
    "invalid_text": application(subject="\x07"),
    "unknown_currency": application(currency="cny"),
    "unknown_field": application(price=1),
    "missing_field": {"bizOrderNo": "1"},
    "invalid_request": [1],
}


@pytest.mark.parametrize("code", WRONG)
async def test_one_of_a_wrong_form_fails_alone(http: Client, code: str) -> None:
    answers = await batch(http, application(), WRONG[code], application())

    assert [answer["status"] for answer in answers] == [201, 400, 201]
    assert answers[1]["problem"]["code"] == code


async def test_one_that_names_a_member_twice_fails_alone_and_a_whole_batch_that_does_fails_whole(
    http: Client,
) -> None:
    one, other = json.dumps(application()), json.dumps(application())
    twice = other.replace("{", '{"amount": 7, ', 1)

    alone = await http.send(
        "POST", "/pay-orders/batch", http.shop, data=f'{{"payOrders": [{one}, {twice}]}}'.encode()
    )
    whole = await http.send(
        "POST",
        "/pay-orders/batch",
        http.shop,
        data=f'{{"payOrders": [{one}], "payOrders": [{other}]}}'.encode(),
    )

    assert [answer["status"] for answer in alone.json["answers"]] == [201, 400]
    assert alone.json["answers"][1]["problem"]["code"] == "duplicate_field"
    assert whole.refusal == (400, "duplicate_field")


async def test_problems_are_told_in_the_language_of_the_caller(http: Client) -> None:
    body = {"payOrders": [application(amount=0)]}
    reply = await http.send(
        "POST", "/pay-orders/batch", http.shop, body, headers={"Accept-Language": "zh-CN"}
    )

    assert reply.headers["Content-Language"] == "zh"
    assert reply.json["answers"][0]["problem"]["detail"].startswith("金额必须为正整数")


async def test_they_are_of_the_merchant_of_the_token(http: Client) -> None:
    """The same number of another merchant is another order."""
    wanted = application()
    (mine,) = await batch(http, wanted)
    (theirs,) = await batch(http, wanted, token=http.token("shop", "pay-orders:write", merchant="2"))

    assert (mine["status"], theirs["status"]) == (201, 201)
    assert (mine["payOrder"]["merchantId"], theirs["payOrder"]["merchantId"]) == ("1", "2")


@pytest.mark.parametrize("count", [0, 201])
async def test_a_batch_is_of_1_to_200(http: Client, count: int) -> None:
    reply = await http.post("/pay-orders/batch", http.shop, {"payOrders": [application()] * count})

    assert reply.refusal == (400, "invalid_request")
    assert reply.json["field"] == "payOrders"


async def test_200_with_the_longest_subjects_fit_in_512_kib_and_more_is_refused(http: Client) -> None:
    longest = {"subject": "📕" * 256, "payerId": "x" * 64, "amount": 10**15, "expiresInSeconds": 2_592_000}
    asked = [application() | longest | {"bizOrderNo": str(2**62 + n)} for n in range(200)]
    body = json.dumps({"payOrders": asked}, ensure_ascii=False).encode()
    fits, too_large = body.ljust(BATCH_BODY_MAX), body.ljust(BATCH_BODY_MAX + 1)

    replies = [
        await http.send("POST", "/pay-orders/batch", http.shop, data=data) for data in (fits, fits, too_large)
    ]

    assert {answer["status"] for answer in replies[0].json["answers"]} == {201}
    assert {answer["status"] for answer in replies[1].json["answers"]} == {200}
    assert replies[2].refusal == (413, "body_too_large")
