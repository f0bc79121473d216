"""A bad body over HTTP: a 4xx problem with its own code, never a 500, never a change."""

from collections.abc import Mapping

import pytest
from refusals import pay_order, refused
from serving import Client, Service, fresh_user
from support import PASSWORD

pytestmark = pytest.mark.asyncio(loop_scope="session")


MALFORMED: Mapping[str, bytes] = {
    "cut off": b'{"bizOrderNo":"1","payerId":"7"',
    "no JSON": b"bizOrderNo=1&payerId=7",
    "trailing comma": b'{"bizOrderNo":"1","payerId":"7","amount":5,}',
    "trailing text": b'{"bizOrderNo":"1","payerId":"7","amount":5} x',
    "two documents": b'{"bizOrderNo":"1","payerId":"7","amount":5}{}',
    "single quotes": b"{'bizOrderNo':'1','payerId':'7','amount':5}",
    "leading zero": b'{"bizOrderNo":"1","payerId":"7","amount":05}',
    "plus sign": b'{"bizOrderNo":"1","payerId":"7","amount":+5}',
    "two numbers": b'{"bizOrderNo":"1","payerId":"7","amount":5 5}',
    "NaN": b'{"bizOrderNo":"1","payerId":"7","amount":NaN}',
    "Infinity": b'{"bizOrderNo":"1","payerId":"7","amount":-Infinity}',
    "comment": b'{"bizOrderNo":"1","payerId":"7","amount":5/*x*/}',
    "raw control character": b'{"bizOrderNo":"1","payerId":"7","amount":5,"subject":"a\nb"}',
    "raw NUL": b'{"bizOrderNo":"1","payerId":"7","amount":5,"subject":"a\0b"}',
    "no UTF-8": b'{"bizOrderNo":"1","payerId":"7","amount":5,"subject":"\xff\xfe"}',
    "surrogate as UTF-8": b'{"bizOrderNo":"1","payerId":"7","amount":5,"subject":"\xed\xa0\x80"}',
    "overlong UTF-8": b'{"bizOrderNo":"1","payerId":"7","amount":5,"subject":"\xc0\xaf"}',
    "lone surrogate": rb'{"bizOrderNo":"1","payerId":"7","amount":5,"subject":"\ud800"}',
    "surrogates turned round": rb'{"bizOrderNo":"1","payerId":"7","amount":5,"subject":"\udc00\ud800"}',
    "UTF-16": '{"bizOrderNo":"1","payerId":"7","amount":5}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"bizOrderNo":"1","payerId":"7","amount":5}',
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
async def test_a_body_that_is_no_json_is_malformed(service: Service, body: bytes) -> None:
    assert (await refused(service, "/pay-orders", body)).refusal == (400, "malformed_json")


@pytest.mark.parametrize("body", [b"[]", b"null", b"5", b'"x"', b"true", b"[[]]"])
async def test_a_body_that_is_no_object_is_refused(service: Service, body: bytes) -> None:
    reply = await refused(service, "/pay-orders", body)

    assert reply.refusal == (400, "invalid_request")
    assert "object" in reply.json["detail"]


async def test_no_body_at_all_is_asked_for(service: Service) -> None:
    reply = await refused(service, "/pay-orders", b"")

    assert reply.refusal == (400, "missing_field")
    assert reply.json["detail"] == "Send a JSON object in the body."


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 30_000,
        b'{"bizOrderNo":' + b"[" * 30_000,
        b'{"x":' * 10_000,
        b'{"bizOrderNo":"1","payerId":"7","amount":5,"subject":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    ],
    ids=["arrays", "arrays inside", "objects", "closed again"],
)
async def test_a_deep_body_is_refused_like_any_other(service: Service, body: bytes) -> None:
    assert (await refused(service, "/pay-orders", body)).status == 400


async def test_a_member_that_stands_there_twice_is_refused(service: Service) -> None:
    """Readers differ in which of the two counts: what was checked may not be what is paid."""
    body = b'{"bizOrderNo":"1","payerId":"7","amount":5,"am\\u006funt":500}'

    reply = await refused(service, "/pay-orders", body)

    assert reply.refusal == (400, "duplicate_field")
    assert reply.json["field"] == "amount"


async def test_a_member_nobody_knows_is_refused_by_name(service: Service) -> None:
    reply = await refused(service, "/pay-orders", pay_order(amonut=5))

    assert reply.refusal == (400, "unknown_field")
    assert reply.json["field"] == "amonut"
    assert reply.json["detail"] == "The body has a member amonut, which is not documented."


async def test_a_strange_name_is_not_repeated_as_it_came(service: Service) -> None:
    """Cut, and without characters that could do something in a log or a terminal."""
    reply = await refused(service, "/pay-orders", pay_order(**{"a\x1b[31m\n`" + "b" * 500: 5}))

    assert reply.refusal == (400, "unknown_field")
    assert reply.json["field"].isprintable()
    assert len(reply.json["field"]) <= 64


@pytest.mark.parametrize("name", ["bizOrderNo", "payerId", "amount"])
async def test_a_missing_member_is_named(service: Service, name: str) -> None:
    body = pay_order()
    del body[name]

    reply = await refused(service, "/pay-orders", body)

    assert reply.refusal == (400, "missing_field")
    assert reply.json["field"] == name
    assert reply.json["detail"] == f"The member {name} is missing."


async def test_a_missing_member_is_named_in_chinese(service: Service) -> None:
    reply = await refused(service, "/pay-orders", {}, headers={"Accept-Language": "zh"})

    assert reply.json["detail"] == "缺少必填字段\uff08bizOrderNo\uff09"


@pytest.mark.parametrize(
    ("path", "members", "code", "field"),
    [
        ("/wallets", {"payPassword": "12345"}, "invalid_request", "payPassword"),
        ("/wallets", {"currency": "cny"}, "unknown_currency", "currency"),
        ("/wallets", {"currency": "XYZ"}, "unknown_currency", "currency"),
        ("/wallets", {"userId": "a b"}, "invalid_request", "userId"),
        ("/pay-orders", {"amount": 0}, "invalid_amount", "amount"),
        ("/pay-orders", {"bizOrderNo": "x"}, "invalid_id", "bizOrderNo"),
    ],
)
async def test_a_refusal_names_its_field_in_words(
    http: Client, path: str, members: dict[str, object], code: str, field: str
) -> None:
    """Regular expressions are for programs; they stand in the OpenAPI document."""
    wallet = {"userId": fresh_user(), "payPassword": PASSWORD}
    body = {**(wallet if path == "/wallets" else pay_order()), **members}

    reply = await http.post(path, http.shop, body)

    assert reply.refusal == (400, code)
    assert reply.json["field"] == field
    assert "regex" not in reply.json["detail"]
