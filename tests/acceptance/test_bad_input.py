"""Bad input over HTTP: a 4xx problem with its own code, never a 500, never a change."""

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

import pytest
from serving import Client, Reply, Service, fresh_databases, fresh_number, fresh_user, in_process, state
from support import PASSWORD, Databases, connected, seeded

from paybell.money import AMOUNT_MAX
from paybell.storage import Database
from paybell.verification.ledger_check import trial_balance
from paybell.web.bodies import REQUEST_BODY_MAX

pytestmark = pytest.mark.asyncio(loop_scope="session")


def pay_order(**members: object) -> dict[str, object]:
    """Return a body that is right but for these members."""
    return {"bizOrderNo": str(fresh_number()), "payerId": "7", "amount": 5, **members}


async def refused(
    service: Service, path: str, body: object, *, headers: Mapping[str, str] | None = None
) -> Reply:
    """Post something bad with every scope there is, and make sure that nothing changed."""
    before = await state(service)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = await service.client.send("POST", path, service.client.shop, data=data, headers=headers)
    assert 400 <= reply.status < 500, reply.content
    assert await state(service) == before
    return reply


# JSON ------------------------------------------------------------------------------------------

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


# Amounts, ids, texts ---------------------------------------------------------------------------

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


# Passwords -------------------------------------------------------------------------------------


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


# Bodies as such --------------------------------------------------------------------------------


async def test_a_body_of_64_kib_is_read_and_a_longer_one_is_not(service: Service) -> None:
    """The limit is on bytes as they arrive, announced or not."""
    body = json.dumps(pay_order()).encode()
    fits, too_large = body.ljust(REQUEST_BODY_MAX), body.ljust(REQUEST_BODY_MAX + 1)

    async def chunks(whole: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(whole), 4096):
            yield whole[start : start + 4096]

    async def post(data: Any) -> Reply:
        return await service.client.send("POST", "/pay-orders", service.client.shop, data=data)

    assert (await post(fits)).status == 201
    before = await state(service)
    announced, in_chunks, huge = (
        await post(too_large),
        await post(chunks(too_large)),
        await post(chunks(b" " * (4 << 20))),
    )
    assert announced.refusal == in_chunks.refusal == huge.refusal == (413, "body_too_large")
    assert await state(service) == before


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/jsonp",
        "application/x-msgpack",
        "json",
        "",
        "*/*",
    ],
)
async def test_another_content_type_is_refused(service: Service, kind: str) -> None:
    """What a web form can send across sites is never read."""
    reply = await refused(service, "/pay-orders", pay_order(), headers={"Content-Type": kind})

    assert reply.refusal == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "Application/JSON", "application/json ;x"]
)
async def test_json_may_be_called_so_in_any_spelling(http: Client, kind: str) -> None:
    reply = await http.send("POST", "/pay-orders", http.shop, pay_order(), headers={"Content-Type": kind})

    assert reply.status == 201


# Addresses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query", ["ids=%ff", "ids=%00", "ids=1%2C%ED%A0%80", "ids=1&ids=x", "ids", "ids=", "%ff=1"]
)
async def test_a_query_that_is_no_text_is_refused(http: Client, query: str) -> None:
    reply = await http.get(f"/orders?{query}", http.shop)

    assert reply.status == 400
    assert reply.refusal[1] in ("invalid_id", "invalid_text", "missing_field")


async def test_a_query_that_is_too_long_is_refused_by_name(http: Client) -> None:
    reply = await http.get(f"/orders?ids={'1,' * 3000}1", http.shop)

    assert reply.refusal == (400, "invalid_request")
    assert reply.json["field"] == "ids"


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/orders/1/pay",
        "/pay-orders/biz",
        "/wallets",
        "/orders/1/2",
        "/%ff",
        "/%00",
    ],
)
async def test_an_address_that_is_none_is_not_found(http: Client, path: str) -> None:
    reply = await http.get(path, http.shop)

    assert reply.status in (400, 404, 405)
    assert reply.refusal[1] in ("invalid_id", "not_found", "method_not_allowed")


async def test_another_method_is_told_which_there_are(http: Client) -> None:
    for method in ("PUT", "PATCH", "DELETE", "TRACE", "POST"):
        reply = await http.send(method, "/orders/1", http.shop)
        assert reply.refusal == (405, "method_not_allowed")
        assert "GET" in reply.headers["Allow"]


# Headers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Accept", "\xff/\xff;q=x"),
        ("Accept", "text/html"),
        ("Accept-Language", "zh;q=nan,en;q=inf,,;;=,"),
        ("Accept-Language", "x" * 5000),
        ("Cookie", "=;;a==b; \xff=\xff"),
        ("traceparent", "00-" + "0" * 32 + "-" + "0" * 16 + "-00"),
        ("traceparent", "\xff" * 55),
        ("X-Forwarded-For", "1.2.3.4, \xff"),
        ("Content-Encoding", "gzip"),
        ("Expect", "nothing"),
        ("Origin", "null"),
        ("Content-Length-X", "5"),
    ],
)
async def test_a_strange_header_changes_nothing(http: Client, name: str, value: str) -> None:
    reply = await http.send("POST", "/pay-orders", http.shop, pay_order(), headers={name: value})

    assert reply.status == 201


async def test_a_trace_context_goes_on_and_one_that_is_none_is_replaced(postgres: Databases) -> None:
    """What an event carries is always one, whatever came in."""
    good = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
    bad = [good.upper(), f"{good}x", "00-" + "0" * 32 + good[35:], "'; --", "", "\xff" * 55]
    urls = await fresh_databases(postgres)
    # Without a relay events stay where we can look at them.
    async with in_process(urls, roles=frozenset({"api"})) as service:
        user = fresh_user()
        await service.client.fund(user, 100)
        for given in (good, *bad):
            order = await service.client.apply(user, 1)
            await service.client.send(
                "POST",
                f"/pay-orders/{order['id']}/pay",
                service.client.token(user),
                {"payPassword": PASSWORD},
                headers={"traceparent": given},
            )
    async with connected(urls["pay"]) as rows:
        kept = [row["traceparent"] for row in await rows.fetch("SELECT traceparent FROM outbox ORDER BY id")]

    assert kept[0] == good
    assert len({*kept}) == len(kept) == 1 + len(bad)
    assert all(re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", trace) for trace in kept)


# Below HTTP ------------------------------------------------------------------------------------

RAW: Mapping[str, bytes] = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "a bad length": b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    "two lengths": b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
    "a length and chunks": (
        b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    ),
    "bad chunks": b"POST /orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a header without a colon": b"GET /orders HTTP/1.1\r\nHost x\r\n\r\n",
    "another version": b"GET /orders HTTP/9.9\r\nHost: x\r\n\r\n",
    "a full address": b"GET http://x:99999/orders?ids=1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "no host": b"GET /orders?ids=1 HTTP/1.1\r\n\r\n",
    "an asterisk": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "an upgrade": b"GET /orders HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", RAW.values(), ids=RAW)
async def test_what_is_no_request_is_refused_and_the_service_goes_on(
    http: Client, request_bytes: bytes
) -> None:
    port = int(http.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_bytes)
    writer.write_eof()

    answer = await asyncio.wait_for(reader.read(), 10)

    writer.close()
    assert not answer or 200 <= int(answer.split()[1]) < 500, answer
    assert (await http.get("/healthz")).status == 200


async def test_a_client_that_goes_away_in_the_middle_leaves_nothing(
    service: Service, http: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    """Half a body, then nothing: no change, and nothing in the log that looks like our fault."""
    before = await state(service)
    port = int(http.url.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /pay-orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {http.shop}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    writer.write(head.encode() + b'{"bizOrderNo":"1",')
    await writer.drain()
    await http.get("/healthz")

    writer.close()
    await writer.wait_closed()

    for _ in range(3):
        assert (await http.get("/healthz")).status == 200
    assert await state(service) == before
    assert "Traceback" not in "".join(capfd.readouterr())


# Everything at once ----------------------------------------------------------------------------

REQUESTS = 2_000
_VALUES: Sequence[object] = (
    *(None, True, False, 0, 1, -1, 5, 2**31, 2**63, 2**64, 10**40, 0.5, 5.0, 1e300),
    *("", "7", "1", "0", "-1", "CNY", "USD", "123456", "' OR 1=1 --", "a\0b", "\ud800", "\u202e", "x" * 300),
    *([], {}, [1], {"a": 1}, [[[]]], "\uff19", "1e5", "null", "一本书", "../../etc/passwd", "%00", "{{7*7}}"),
)
_HEADERS = (
    "Accept",
    "Accept-Language",
    "Idempotency-Key",
    "Content-Type",
    "Authorization",
    "traceparent",
    "Cookie",
)


class Fuzzer:
    """Takes right requests and spoils them."""

    def __init__(
        self, source: random.Random, users: Sequence[str], orders: Sequence[Mapping[str, Any]]
    ) -> None:
        """Aim at these users' orders."""
        self._random = source
        self._users = users
        self._orders = orders

    def requests(self, tokens: Sequence[str]) -> Iterator[tuple[str, str, dict[str, str], bytes]]:
        """Yield method, path, headers, body, without an end."""
        while True:
            method, path, body = self._random.choice(self._right())
            headers = {
                "Authorization": f"Bearer {self._random.choice(tokens)}",
                "Content-Type": "application/json",
                "Idempotency-Key": str(self._random.randrange(50)),
            }
            if self._random.random() < 0.2:
                headers[self._random.choice(_HEADERS)] = self._junk()
            if self._random.random() < 0.15:
                path = self._spoil_path(path)
            if self._random.random() < 0.05:
                method = self._random.choice(("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"))
            yield method, path, headers, self._spoil_body(body)

    def _right(self) -> list[tuple[str, str, dict[str, object]]]:
        user, order = self._random.choice(self._users), self._random.choice(self._orders)
        number = str(self._random.randrange(1, 2**63))
        return [
            ("POST", "/pay-orders", {"bizOrderNo": number, "payerId": user, "amount": 1, "subject": "x"}),
            ("GET", f"/pay-orders?bizOrderNos={order['id']}", {}),
            ("GET", f"/pay-orders/{order['payOrderId']}", {}),
            ("GET", f"/pay-orders/biz/{order['id']}", {}),
            ("POST", f"/pay-orders/{order['payOrderId']}/pay", {"payPassword": PASSWORD}),
            ("POST", f"/pay-orders/{order['payOrderId']}/close", {}),
            ("POST", "/wallets", {"userId": user, "payPassword": PASSWORD, "currency": "EUR"}),
            ("GET", f"/wallets/{user}?currency=CNY", {}),
            ("POST", f"/wallets/{user}/top-ups", {"amount": 1, "currency": "CNY"}),
            ("POST", "/orders", {"buyerId": user, "totalFee": 1, "orderId": number}),
            ("GET", f"/orders?ids={order['id']},{number}", {}),
            ("GET", f"/orders/{order['id']}", {}),
            ("POST", f"/orders/{order['id']}/cancel", {}),
        ]

    def _spoil_body(self, body: dict[str, object]) -> bytes:
        for _ in range(self._random.choice((0, 1, 1, 2))):
            name = self._random.choice([*body, "extra"])
            if self._random.random() < 0.2:
                body.pop(name, None)
            else:
                body[name] = self._random.choice(_VALUES)
        whole = bytearray(json.dumps(body).encode("utf-8", "surrogatepass"))
        for _ in range(self._random.choice((0, 0, 0, 1, 3))):
            place = self._random.randrange(len(whole))
            whole[place : place + self._random.randrange(2)] = self._random.randbytes(1)
        return bytes(whole)

    def _spoil_path(self, path: str) -> str:
        place = self._random.randrange(1, len(path) + 1)
        junk = quote(bytes(self._random.randrange(256) for _ in range(3)), safe="/?&=,")
        return path[:place] + junk + path[place + self._random.randrange(3) :]

    def _junk(self) -> str:
        length = self._random.choice((0, 1, 20, 300))
        return "".join(chr(self._random.choice((*range(33, 127), 0xE9, 0xFF))) for _ in range(length))


async def test_two_thousand_spoiled_requests_get_documented_answers(
    service: Service, pay_check: Database
) -> None:
    """Whatever comes in, what goes out is in the OpenAPI document; and the books still balance."""
    client = service.client
    users = [fresh_user() for _ in range(3)]
    for user in users:
        await client.fund(user, 50)
    orders = [await client.order(user, 1) for user in users for _ in range(10)]
    tokens = [*[client.shop] * 12, *(client.token(user) for user in users), client.token("nobody"), "x"]
    fuzz = Fuzzer(seeded(), users, orders).requests(tokens)
    documented = _documented(service)

    async def worker() -> None:
        for _ in range(REQUESTS // 40):
            method, path, headers, body = next(fuzz)
            reply = await client.send(method, path, data=None if method == "GET" else body, headers=headers)
            assert _is_documented(documented, method, path, reply), (method, path, headers, body, reply)

    async with asyncio.TaskGroup() as group:
        for _ in range(40):
            group.create_task(worker())

    assert await trial_balance(pay_check)


def _documented(service: Service) -> Mapping[str, Mapping[str, set[str]]]:
    """Return the codes of every address's every method, by ``METHOD pattern``; 2xx as its number."""
    schema = service.application().openapi_schema.to_schema()
    found: dict[str, dict[str, set[str]]] = {}
    for template, methods in schema["paths"].items():
        pattern = re.sub(r"\{\w+\}", "[^/]+", template) + "/?"
        for method, operation in methods.items():
            answers = found.setdefault(pattern, {}).setdefault(method.upper(), set())
            for status, response in operation["responses"].items():
                codes = re.findall(r"`(\w+)`:", response["description"])
                answers |= {f"{status} {code}" for code in codes} or {status}
    return found


def _is_documented(
    documented: Mapping[str, Mapping[str, set[str]]], method: str, path: str, reply: Reply
) -> bool:
    if reply.status < 400:
        code = str(reply.status)
    elif method == "HEAD":
        return reply.status < 500
    else:
        code = "{} {}".format(*reply.refusal)
    if code in ("404 not_found", "405 method_not_allowed") or method == "OPTIONS":
        return reply.status < 500
    plain = re.sub("/+", "/", unquote(path.partition("?")[0].partition("#")[0]))
    return any(
        code in methods.get(method, ())
        for pattern, methods in documented.items()
        if re.fullmatch(pattern, plain)
    )


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


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("/wallets/{user}/transfers?since=9999-12-31T23:59:59-14:00", "invalid_request", "since"),
        ("/wallets/{user}/transfers?until=9999-12-31T23:59:59-14:00", "invalid_request", "until"),
        ("/wallets/{user}/transfers?until=0001-01-01T00:00:00%2B14:00", "invalid_request", "until"),
        ("/wallets/{user}/transfers?until=2026-01-01T00:00:00", "invalid_request", "until"),
        ("/wallets/{user}/transfers?limit=1001", "invalid_request", "limit"),
        ("/wallets/{user}/transfers?cursor=1-1%00", "invalid_text", "cursor"),
        ("/wallets/{user}/transfers?sinse=2026-01-01T00:00:00Z", "unknown_field", "sinse"),
        ("/wallets/{user}?currency=%ff", "invalid_text", None),
        ("/wallets/{user}?currency=CNY%00", "invalid_text", "currency"),
        ("/wallets/{user}?user_id=7", "unknown_field", "user_id"),
        ("/ops/failures?reason=%00", "invalid_text", "reason"),
        ("/ops/failures?listener=%00", "invalid_text", "listener"),
        ("/ops/failures?state=lost", "invalid_request", "state"),
        ("/ops/now?samples=-1", "invalid_request", "samples"),
        ("/pay-orders?bizOrderNos=1&bizOrderNo=2", "unknown_field", "bizOrderNo"),
        ("/orders?ids=1&%0A=2", "unknown_field", ""),
    ],
)
async def test_queries_are_checked_in_one_place(
    http: Client, query: str, code: str, field: str | None
) -> None:
    """Odd dates, texts that are none, parameters nobody documented: each is named."""
    user = fresh_user()
    await http.fund(user, 1)

    reply = await http.get(query.replace("{user}", user), http.shop)

    assert reply.refusal == (400, code)
    assert reply.json.get("field") == field


async def test_odd_dates_and_texts_in_a_replays_body_are_refused(http: Client) -> None:
    for name, value in (("until", "9999-12-31T23:59:59-14:00"), ("until", "2026-01-01"), ("reason", "\0")):
        assert (await http.post("/ops/failures/replay", http.shop, {name: value})).status == 400


@pytest.mark.parametrize("accept", ["text/csv;q=inf", "text/csv;q=nan", "text/csv;q=-1", "*/*;q=", "\xff"])
async def test_weights_that_are_none_are_no_weight(http: Client, accept: str) -> None:
    user = fresh_user()
    await http.fund(user, 1)

    reply = await http.send("GET", f"/wallets/{user}/transfers", http.token(user), headers={"Accept": accept})

    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
