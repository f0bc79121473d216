"""The paying route past the framework answers as the framework's own does, to the byte."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from serving import Client, Reply, fresh_user
from support import PASSWORD

from paybell.web.bodies import REQUEST_BODY_MAX

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Anything but the plain content type is left to the framework.
PLAIN, OTHER = "application/json", "application/json; charset=utf-8"


async def both(http: Client, path: str, token: str | None, body: Any, **headers: str) -> tuple[Reply, Reply]:
    """Send the same request through the lane and through the framework."""
    lane, framework = [
        await http.send("POST", path, token, body, headers={"Content-Type": kind, **headers})
        for kind in (PLAIN, OTHER)
    ]
    return lane, framework


def said(reply: Reply) -> tuple[int, bytes, Mapping[str, str]]:
    headers = {name.lower(): value for name, value in reply.headers.items()}
    del headers["x-request-id"]  # each request has its own
    return reply.status, reply.content, headers


async def test_a_payment_is_answered_the_same_both_ways(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, 100)
    pay_order = await http.apply(user, 100)
    path, token = f"/pay-orders/{pay_order['payOrderId']}/pay", http.token(user)

    lane, framework = await both(http, path, token, {"payPassword": PASSWORD})

    assert lane.status == 200
    assert said(lane) == said(framework)
    assert await http.balance(user) == 0


@pytest.mark.parametrize(
    ("body", "language", "expected"),
    [
        ({"payPassword": "000000"}, "zh", (403, "wrong_pay_password")),
        ({"payPassword": "12345"}, "en", (400, "invalid_request")),
        ({"payPassword": PASSWORD}, "zh-CN", (402, "insufficient_balance")),
        ({}, "en", (400, "missing_field")),
        ({"payPassword": PASSWORD, "more": 1}, "en", (400, "unknown_field")),
        ([], "en", (400, "invalid_request")),
    ],
)
async def test_a_refusal_is_answered_the_same_both_ways(
    http: Client, body: Any, language: str, expected: tuple[int, str]
) -> None:
    """Two users, because a wrong password is counted."""
    replies = []
    for kind in (PLAIN, OTHER):
        user = fresh_user()
        await http.fund(user, 1)
        pay_order = await http.apply(user, 100)
        headers = {"Content-Type": kind, "Accept-Language": language}
        path = f"/pay-orders/{pay_order['payOrderId']}/pay"
        replies.append(await http.send("POST", path, http.token(user), body, headers=headers))
    lane, framework = replies

    assert lane.refusal == expected
    assert said(lane) == said(framework)


async def test_who_has_no_token_or_a_strange_path_is_refused_the_same(http: Client) -> None:
    user = fresh_user()
    for path in ("/pay-orders/0/pay", "/pay-orders/9223372036854775808/pay", "/pay-orders/1/pay"):
        for token in (None, "x", http.token(user)):
            lane, framework = await both(http, path, token, {"payPassword": PASSWORD})
            assert said(lane) == said(framework), (path, token)


async def test_a_body_that_comes_in_pieces_is_paid_too(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, 100)
    pay_order = await http.apply(user, 100)

    async def pieces() -> Any:
        for piece in (b'{"payPass', b'word": "', PASSWORD.encode(), b'"}'):
            yield piece

    reply = await http.send(
        "POST", f"/pay-orders/{pay_order['payOrderId']}/pay", http.token(user), data=pieces()
    )

    assert reply.status == 200


@pytest.mark.parametrize("size", [REQUEST_BODY_MAX + 1, 120_000])
async def test_a_body_that_is_too_large_is_refused_the_same(http: Client, size: int) -> None:
    """Also one that the server hands over in one piece."""
    user = fresh_user()
    await http.fund(user, 100)
    pay_order = await http.apply(user, 100)
    body = msgspec.json.encode({"payPassword": PASSWORD}).ljust(size)

    path = f"/pay-orders/{pay_order['payOrderId']}/pay"
    for kind in (PLAIN, OTHER):
        reply = await http.send("POST", path, http.token(user), data=body, headers={"Content-Type": kind})
        assert reply.refusal == (413, "body_too_large")
    assert await http.balance(user) == 100
