"""Statements over HTTP: everything that moved, once, in the order of time, for its owner alone."""

import csv
import io
from typing import Any

import pytest
from serving import Client, fresh_user

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def busy(http: Client) -> str:
    """Make a user with a top-up of 1,000, five payments of 100 and a refund of 30."""
    user = fresh_user()
    await http.fund(user, 1_000)
    for _ in range(5):
        order = await http.order(user, 100)
        await http.pay(order["payOrderId"], user)
    path = f"/pay-orders/{order['payOrderId']}/refunds"
    refund = await http.send("POST", path, http.shop, {"amount": 30}, headers={"Idempotency-Key": user})
    assert refund.status == 201
    return user


async def pages(http: Client, path: str, token: str, limit: int) -> list[dict[str, Any]]:
    """Read a statement page by page."""
    lines: list[dict[str, Any]] = []
    cursor = ""
    while True:
        reply = await http.get(f"{path}?limit={limit}{cursor}", token)
        assert reply.status == 200
        lines += reply.json["transfers"]
        if reply.json["next"] is None:
            return lines
        cursor = f"&cursor={reply.json['next']}"


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
async def test_a_wallets_pages_hold_every_transfer_once(http: Client, limit: int) -> None:
    user = await busy(http)

    lines = await pages(http, f"/wallets/{user}/transfers", http.token(user), limit)

    assert [(line["kind"], line["amount"]) for line in lines] == [
        ("top_up", 1_000),
        *[("payment", -100)] * 5,
        ("refund", 30),
    ]
    wallet = await http.get(f"/wallets/{user}", http.token(user))
    assert sum(line["amount"] for line in lines) == wallet.json["balance"]
    assert len({line["id"] for line in lines}) == 7
    assert {line["currency"] for line in lines} == {"CNY"}


async def test_the_merchants_side_is_the_other_side(http: Client) -> None:
    user = await busy(http)
    mine = await pages(http, f"/wallets/{user}/transfers", http.token(user), 100)
    token = http.token("shop", "merchants:read")

    lines = {line["id"]: line for line in await pages(http, "/merchants/1/transfers", token, 1_000)}

    for line in mine[1:]:
        assert lines[line["id"]] == line | {"amount": -line["amount"]}


async def test_a_statement_is_also_csv(http: Client) -> None:
    user = await busy(http)
    path, token = f"/wallets/{user}/transfers", http.token(user)

    reply = await http.send("GET", path, token, headers={"Accept": "text/csv"})

    assert reply.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(reply.content.decode())))
    assert rows == [
        {name: str(value) for name, value in line.items()} for line in await pages(http, path, token, 100)
    ]


async def test_a_statement_of_some_time_has_the_transfers_of_that_time(http: Client) -> None:
    """From the third payment on, up to the fifth."""
    user = await busy(http)
    path, token = f"/wallets/{user}/transfers", http.token(user)
    everything = await pages(http, path, token, 100)
    since, until = everything[3]["at"], everything[5]["at"]

    some = await http.get(f"{path}?since={since}&until={until}", token)
    none = await http.get(f"{path}?since=2999-01-01T00:00:00Z", token)

    assert some.json["transfers"] == everything[3:5]
    assert none.json == {"transfers": [], "next": None}


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "cursor=x",
        "cursor=1-99999999999999999999",
        "cursor=1-1-1-5:4:",
        "cursor=1-1-1-1:5:4,3",
        "cursor=1-1-1-0:5:",
        "cursor=1-1-1-1:9999999999999999999:",
        "since=yesterday",
        "until=2026-01-01",
    ],
)
async def test_what_cannot_be_read_is_said(http: Client, query: str) -> None:
    user = fresh_user()
    await http.fund(user, 1)

    reply = await http.get(f"/wallets/{user}/transfers?{query}", http.token(user))

    assert reply.refusal == (400, "invalid_request")
    assert reply.json["field"] == query.partition("=")[0]


async def test_a_statements_next_page_is_asked_for_as_in_other_lists(http: Client) -> None:
    user = await busy(http)
    path, token = f"/wallets/{user}/transfers?limit=3", http.token(user)
    place = (await http.get(path, token)).json["next"]

    pages = [await http.get(f"{path}&{name}={place}", token) for name in ("after", "cursor")]
    refused = await http.get(f"{path}&after=x", token)

    assert pages[0].json == pages[1].json
    assert len(pages[0].json["transfers"]) == 3
    assert (refused.refusal, refused.json["field"]) == ((400, "invalid_request"), "after")


async def test_nobody_without_an_account_has_a_statement(http: Client) -> None:
    user = fresh_user()

    reply = await http.get(f"/wallets/{user}/transfers", http.token(user))

    assert reply.refusal == (404, "wallet_not_found")
