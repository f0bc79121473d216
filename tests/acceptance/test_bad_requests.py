"""A request that is odd around its body: size, type, query, address, headers, bytes."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from refusals import pay_order, refused
from serving import Client, Reply, Service, fresh_databases, fresh_user, in_process, state
from support import PASSWORD, Databases, connected

from paybell.web.bodies import REQUEST_BODY_MAX

pytestmark = pytest.mark.asyncio(loop_scope="session")


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
    assert (await state(service)).follows(before)


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
    assert (await state(service)).follows(before)
    assert "Traceback" not in "".join(capfd.readouterr())


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
