"""A member of a body that holds what it may not: refused by name, and nothing changes."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import pytest
from refusals import pay_order, refused
from serving import Client, Service, fresh_user
from support import PASSWORD

from paybell.money import AMOUNT_MAX

pytestmark = pytest.mark.asyncio(loop_scope="session")


NO_AMOUNTS = [
    *(0, -1, AMOUNT_MAX + 1, 2**63, 2**64, 10**30, -(2**63)),
    *(5.0, 0.1, 1e3, "5", "", " 5", "\u0665", True, False, None, [], [5], {}, {"amount": 5}),
]


@pytest.mark.parametrize("amount", NO_AMOUNTS, ids=[json.dumps(amount) for amount in NO_AMOUNTS])
@pytest.mark.parametrize(
    ("path", "name", "rest"),
    [
        ("/pay-orders", "amount", {"bizOrderNo": "1", "payerId": "7"}),
        ("/orders", "totalFee", {"buyerId": "7"}),
        ("/wallets/7/top-ups", "amount", {}),
    ],
    ids=["pay order", "order", "top-up"],
)
async def test_an_amount_is_a_whole_positive_number(
    service: Service, path: str, name: str, rest: Mapping[str, object], amount: object
) -> None:
    """Floats too, though they may be whole: 9007199254740993.0 is not what was typed."""
    reply = await refused(service, path, {**rest, name: amount}, headers={"Idempotency-Key": "k"})

    assert reply.refusal == (400, "invalid_amount")
    assert reply.json["field"] == name
    assert len(str(amount)) < 4 or str(amount) not in reply.json["detail"]


async def test_the_largest_amount_is_kept_to_the_last_digit(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, AMOUNT_MAX)
    order = await http.order(user, AMOUNT_MAX)

    assert (await http.pay(order["payOrderId"], user)).json["amount"] == AMOUNT_MAX
    assert await http.balance(user) == 0


NO_IDS = [
    *("", "0", "-1", "+1", " 1", "1 ", "1\n", "1.0", "1e3", "0x1", "1_000", "abc", "1;", "1'--"),
    *("9223372036854775808", "99999999999999999999", "1" * 400, "\u0661", "\uff11", "²", "1\0", "\N{BELL}"),
]


@pytest.mark.parametrize("text", NO_IDS, ids=[ascii(text[:25]) for text in NO_IDS])
async def test_an_id_is_plain_digits_within_63_bits(service: Service, text: str) -> None:
    """In a body, in a path and in a list."""
    in_body = await refused(service, "/pay-orders", pay_order(bizOrderNo=text))
    in_order = await refused(service, "/orders", {"buyerId": "7", "totalFee": 5, "orderId": text})
    listed = await service.client.get(f"/orders?ids=1,{quote(text)}", service.client.shop)

    assert in_body.refusal == in_order.refusal == (400, "invalid_id")
    assert listed.refusal in ((400, "invalid_id"), (400, "invalid_text"))  # with control characters in it
    assert (in_body.json["field"], in_order.json["field"], listed.json["field"]) == (
        "bizOrderNo",
        "orderId",
        "ids",
    )
    if text.strip():
        for path in ("/pay-orders/{}", "/pay-orders/biz/{}", "/orders/{}"):
            in_path = await service.client.get(path.format(quote(text, safe="")), service.client.shop)
            assert in_path.refusal == (400, "invalid_id"), path


@pytest.mark.parametrize("value", [1, 1.0, True, None, ["1"], {"id": "1"}])
async def test_an_id_is_a_string(service: Service, value: object) -> None:
    """A number would already have lost digits in a browser."""
    reply = await refused(service, "/pay-orders", pay_order(bizOrderNo=value))

    assert reply.refusal == (400, "invalid_id")


async def test_the_largest_id_is_an_id(http: Client) -> None:
    number = str(2**63 - 1)
    body = {"bizOrderNo": number, "payerId": "7", "amount": 5}
    merchant = http.token("shop", "pay-orders:write", merchant=fresh_user())

    assert (await http.post("/pay-orders", merchant, body)).json["bizOrderNo"] == number


NO_USERS = [
    "",
    " ",
    "a b",
    "-a",
    ".a",
    "a" * 65,
    "a\n",
    "a\0",
    "a/b",
    "a'--",
    "ü",
    "爱丽丝",
    "\u202ea",
    "a\ud83d",
    "%",
]


@pytest.mark.parametrize("user", NO_USERS, ids=[ascii(user) for user in NO_USERS])
async def test_a_user_id_needs_no_escaping_anywhere(service: Service, user: str) -> None:
    replies = [
        await refused(service, "/pay-orders", pay_order(payerId=user)),
        await refused(service, "/orders", {"buyerId": user, "totalFee": 5}),
        await refused(service, "/wallets", {"userId": user, "payPassword": PASSWORD}),
    ]

    code = "malformed_json" if "\ud83d" in user else "invalid_request"
    assert {reply.refusal for reply in replies} == {(400, code)}
    if user.strip() and "\ud83d" not in user:
        in_path = await service.client.get(f"/wallets/{quote(user, safe='')}", service.client.shop)
        assert in_path.status in (400, 404)
        assert in_path.refusal[1] in ("invalid_id", "not_found")


@pytest.mark.parametrize(
    "text",
    ["a\nb", "a\tb", "a\0b", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u202eevil", "\u2066", "\ufffe"],
    ids=ascii,
)
async def test_text_for_people_holds_no_control_characters(service: Service, text: str) -> None:
    for path, rest in (("/pay-orders", pay_order()), ("/orders", {"buyerId": "7", "totalFee": 5})):
        reply = await refused(service, path, {**rest, "subject": text})
        assert reply.refusal == (400, "invalid_text")
        assert reply.json["field"] == "subject"


@pytest.mark.parametrize(
    "text",
    [
        "'; DROP TABLE pay_orders; --",
        '$1 %s {0} \\ " <script>alert(1)</script>',
        "全角\u3000空格",
        "no\u00a0break",
        "👩‍👩‍👧‍👦 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
        "सत्य शब्द‍ؤ",
        "\U0001d54f" * 256,
        "",
    ],
)
async def test_text_of_any_language_and_sql_is_kept_as_it_is(http: Client, text: str) -> None:
    user = fresh_user()

    order = await http.order(user, subject=text)

    assert (await http.get(f"/orders/{order['id']}", http.token(user))).json["subject"] == text
    shown = await http.get(f"/pay-orders/{order['payOrderId']}", http.token(user))
    assert shown.json["subject"] == text


async def test_a_subject_has_256_characters_at_most(service: Service) -> None:
    reply = await refused(service, "/pay-orders", pay_order(subject="x" * 257))

    assert reply.refusal == (400, "invalid_request")
    assert reply.json["field"] == "subject"


NO_CURRENCIES = ["", "cny", "CNYX", "CN", "XXX", "ZZZ", "¥", "CNY\n", "C\0Y", 1, None, ["CNY"]]


@pytest.mark.parametrize("currency", NO_CURRENCIES, ids=ascii)
async def test_a_currency_is_a_code_of_iso_4217(service: Service, currency: object) -> None:
    bodies: Sequence[tuple[str, Mapping[str, object]]] = (
        ("/pay-orders", pay_order()),
        ("/orders", {"buyerId": "7", "totalFee": 5}),
        ("/wallets", {"userId": fresh_user(), "payPassword": PASSWORD}),
    )
    for path, rest in bodies:
        reply = await refused(service, path, {**rest, "currency": currency})
        assert reply.refusal == (400, "unknown_currency")


async def test_a_currency_to_read_in_is_one_too(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, 5)

    for currency in ("", "cny", "XXX"):
        reply = await http.get(f"/wallets/{user}?currency={currency}", http.token(user))
        assert reply.refusal == (400, "unknown_currency"), currency


@pytest.mark.parametrize(
    "password", [123456, 123456.0, None, ["271828"], {"a": "271828"}, "271828x", "27182"]
)
async def test_a_refused_password_is_never_repeated(service: Service, password: object) -> None:
    replies = [
        await refused(service, "/pay-orders/1/pay", {"payPassword": password}),
        await refused(service, "/wallets", {"userId": fresh_user(), "payPassword": password}),
    ]

    for reply in replies:
        assert reply.status == 400
        assert not re.search(r"271828|27182|123456", reply.content.decode())


def words_of(schema: Mapping[str, Any], document: Mapping[str, Any]) -> list[str]:
    """Return the words that a parameter of the OpenAPI document may be, if it may be some words only."""
    if name := schema.get("$ref", "").rpartition("/")[2]:
        return words_of(document["components"]["schemas"][name], document)
    inner = [word for one in schema.get("oneOf", ()) for word in words_of(one, document)]
    return [word for word in schema.get("enum", inner) if word is not None]


async def test_a_word_that_is_none_of_the_known_ones_is_answered_with_those(http: Client) -> None:
    document = (await http.get("/schema/openapi.json")).json
    asked = [
        (path, one["name"], words)
        for path, methods in document["paths"].items()
        for one in methods.get("get", {}).get("parameters", ())
        if one["in"] == "query" and (words := words_of(one["schema"], document))
    ]
    assert len(asked) >= 8
    for path, name, words in asked:
        reply = await http.get(f"{path}?{name}=nothing", http.shop)
        said = f"{name}: it may be {' or '.join(words)}."
        assert (reply.refusal, reply.json["field"], reply.json["detail"]) == (
            (400, "invalid_request"),
            name,
            said,
        )

    settled = await http.post("/attempts/1/settlements", http.shop, {"outcome": "lost", "note": "row 1"})
    assert settled.json["detail"] == "outcome: it may be paid or not_paid or given_back."
