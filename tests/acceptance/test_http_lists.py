"""Lists over HTTP: what one may see, newest first, each row once, whatever is filtered; and as CSV."""

import csv
import io
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from serving import SETTINGS, Client, Service, fresh_databases, fresh_number, fresh_user, in_process
from support import PASSWORD, Databases, connected

from paybell.reconciliation.differences import Difference, Kind
from paybell.reconciliation.pay_books import PayBooks
from paybell.reconciliation.periodic import RECONCILE
from paybell.storage import listing

pytestmark = pytest.mark.asyncio(loop_scope="session")

ITEMS = {"/pay-orders": "payOrders", "/refunds": "refunds", "/orders": "orders"}


@dataclass(frozen=True, slots=True)
class Shop:
    """A merchant of its own with two payers: six pay orders, three of them paid, one of these refunded."""

    http: Client
    merchant: str
    payers: tuple[str, str]
    orders: list[dict[str, Any]]

    def token(self, *scopes: str) -> str:
        """Mint a token of the merchant."""
        return self.http.token("clerk", *scopes, merchant=self.merchant)

    async def read(self, path: str, token: str) -> list[dict[str, Any]]:
        """Follow a list to its end."""
        rows: list[dict[str, Any]] = []
        base, after = path.partition("?")[0], ""
        while True:
            reply = await self.http.get(path + after, token)
            assert reply.status == 200, reply.content
            rows += reply.json[ITEMS[base]]
            if (following := reply.json["next"]) is None:
                return rows
            after = f"{'&' if '?' in path else '?'}after={following}"

    async def numbers(self, query: str) -> list[int]:
        """Return which of the six, by their place, a query finds: newest first."""
        places = {order["id"]: place for place, order in enumerate(self.orders)}
        found = await self.read(f"/pay-orders?{query}", self.token("pay-orders:read"))
        return [places[order["id"]] for order in found]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop(shared_service: Service) -> Shop:
    """Orders of 100 to 600 by two payers in turn; 0, 2 and 4 are paid, 30 of 0 given back, 1 is closed."""
    await shared_service.renew()
    http = shared_service.client
    payers, merchant = (fresh_user(), fresh_user()), f"shop-{fresh_number()}"
    for payer in payers:
        await http.fund(payer, 10_000)
    token = http.token("shop", "pay-orders:write", "refunds:write", merchant=merchant)
    ids = []
    for place in range(6):
        body = {"bizOrderNo": str(fresh_number()), "payerId": payers[place % 2], "amount": 100 * (place + 1)}
        reply = await http.post("/pay-orders", token, body | {"subject": "=cmd|'/c calc'!A1"})
        ids.append(reply.json["id"])
    for place in (0, 2, 4):
        path = f"/pay-orders/{ids[place]}/pay"
        assert (await http.post(path, http.token(payers[0]), {"payPassword": PASSWORD})).status == 200
    for number in ("1", "2"):
        refund = {"amount": 15, "reason": "+1"}
        path, key = f"/pay-orders/{ids[0]}/refunds", {"Idempotency-Key": number}
        assert (await http.send("POST", path, token, refund, headers=key)).status == 201
    assert (await http.post(f"/pay-orders/{ids[1]}/close", token)).status == 200
    clerk = http.token("clerk", "pay-orders:read", merchant=merchant)
    orders = [(await http.get(f"/pay-orders/{one}", clerk)).json for one in ids]
    return Shop(http, merchant, payers, orders)


@pytest.mark.parametrize("limit", [1, 2, 4, 6, 200])
async def test_pages_hold_every_pay_order_once_newest_first(shop: Shop, limit: int) -> None:
    found = await shop.read(f"/pay-orders?limit={limit}", shop.token("pay-orders:read"))

    assert found == shop.orders[::-1]


async def test_a_list_is_filtered_by_status_payer_amount_and_time(shop: Shop) -> None:
    """And by several at once."""
    first, last = shop.orders[2]["createdAt"], shop.orders[4]["createdAt"]
    expected = {
        "status=TRADE_SUCCESS": [4, 2, 0],
        "status=TRADE_CLOSED": [1],
        "status=WAIT_BUYER_PAY": [5, 3],
        "status=NOT_COMMIT": [],
        f"payerId={shop.payers[1]}": [5, 3, 1],
        f"payerId={fresh_user()}": [],
        "minAmount=300": [5, 4, 3, 2],
        "maxAmount=300": [2, 1, 0],
        "minAmount=200&maxAmount=200": [1],
        f"since={first}": [5, 4, 3, 2],
        f"since={first}&until={last}": [3, 2],
        "until=2025-01-01T00:00:00Z": [],
        f"payerId={shop.payers[0]}&status=TRADE_SUCCESS&minAmount=200&limit=1": [4, 2],
    }

    assert {query: await shop.numbers(query) for query in expected} == expected


async def test_a_buyer_sees_what_is_theirs_and_a_merchant_what_is_its_own(shop: Shop) -> None:
    http, (one, other) = shop.http, shop.payers
    mine = await shop.read("/pay-orders", http.token(other))
    refunds = await shop.read("/refunds", http.token(one))
    strangers = [
        await shop.read("/pay-orders", http.token(fresh_user())),
        await shop.read("/refunds", http.token(other)),
        await shop.read("/pay-orders", http.token("clerk", "pay-orders:read", merchant="nobody")),
        await shop.read("/refunds", http.token("clerk", "refunds:read", merchant="nobody")),
        await shop.read(f"/pay-orders?payerId={one}", http.token("c", "pay-orders:read", merchant="nobody")),
    ]
    asked = [
        await http.get(f"/pay-orders?payerId={one}", http.token(other)),
        await http.get(f"/refunds?payerId={one}", http.token(other)),
        await http.get(f"/orders?buyerId={one}", http.token(other)),
    ]

    assert [order["id"] for order in mine] == [shop.orders[place]["id"] for place in (5, 3, 1)]
    assert [refund["amount"] for refund in refunds] == [15, 15]
    assert strangers == [[], [], [], [], []]
    assert {reply.refusal for reply in asked} == {(403, "insufficient_scope")}


async def test_refunds_are_listed_with_what_their_pay_order_says(shop: Shop) -> None:
    token, paid = shop.token("refunds:read"), shop.orders[0]
    found = await shop.read("/refunds?limit=1", token)
    by_id = await shop.http.get(f"/refunds?ids={found[1]['refundId']}", token)

    assert by_id.json == {"refunds": [found[1]]}
    assert found[0]["createdAt"] > found[1]["createdAt"]
    for refund in found:
        for name in ("payOrderId", "bizOrderNo", "merchantId", "payerId", "currency"):
            assert refund[name] == paid[name]
    assert {refund["status"] for refund in found} == {"SUCCEEDED"}
    assert await shop.read("/refunds?status=SUCCEEDED", token) == found
    assert await shop.read("/refunds?status=PENDING", token) == []
    assert await shop.read("/refunds?minAmount=16", token) == []


async def test_orders_are_listed_in_the_order_of_time_whatever_ids_a_shop_gave_them(http: Client) -> None:
    buyer, token = fresh_user(), http.token("clerk", "orders:read")
    numbers = [str(fresh_number()) for _ in range(4)]
    numbers = [numbers[place] for place in (2, 0, 3, 1)]
    for fee, number in enumerate(numbers, 1):
        await http.order(buyer, fee, orderId=number)
    shop = Shop(http, "1", (buyer, buyer), [])

    mine = await shop.read("/orders?limit=3", http.token(buyer))
    theirs = await shop.read(f"/orders?buyerId={buyer}&limit=1", token)
    some = await shop.read(f"/orders?buyerId={buyer}&status=UNPAID&minAmount=2&maxAmount=3", token)
    everybody = await http.get("/orders?limit=4", token)

    assert [order["id"] for order in mine] == numbers[::-1]
    assert theirs == mine
    assert some == mine[1:3]
    assert everybody.json["orders"] == mine


@pytest.mark.parametrize("path", ITEMS)
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("after=x", "after"),
        ("after=1-0-1", "after"),
        ("after=1-99999999999999999999-1", "after"),
        ("since=yesterday", "since"),
        ("since=2024-01-01T00:00:00Z", "since"),
        ("since=0001-01-01T00:00:00Z&until=0001-01-01T00:00:00Z", None),
        ("until=9999-12-31T23:59:59.999999Z", None),
        ("until=2026-01-01", "until"),
        ("minAmount=-1", "minAmount"),
        ("maxAmount=1.5", "maxAmount"),
        ("minAmount=2&maxAmount=1", None),
    ],
)
async def test_what_cannot_be_read_is_said(http: Client, path: str, query: str, field: str | None) -> None:
    reply = await http.get(f"{path}?{query}", http.token(fresh_user()))

    if field is None:
        assert reply.json == {ITEMS[path]: [], "next": None}
    else:
        assert (reply.refusal, reply.json["field"]) == ((400, "invalid_request"), field)


async def test_a_status_nobody_knows_and_ids_with_a_filter_are_refused(http: Client) -> None:
    replies = [
        await http.get("/pay-orders?status=PAID", http.shop),
        await http.get("/orders?status=TRADE_SUCCESS", http.shop),
        await http.get("/pay-orders?bizOrderNos=1&limit=5", http.shop),
        await http.get("/orders?ids=1&status=PAID", http.shop),
        await http.get("/refunds?ids=1&payerId=7", http.shop),
    ]

    assert {reply.refusal for reply in replies} == {(400, "invalid_request")}
    assert [reply.json["field"] for reply in replies] == ["status", "status", "bizOrderNos", "ids", "ids"]


async def test_a_range_is_seven_days_unless_said_and_ninety_two_at_most(shop: Shop) -> None:
    """Later pages end where the first one said."""
    now = datetime.now(UTC)
    token = shop.token("pay-orders:read")

    async def ask(days: float) -> int:
        since = (now - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
        return (await shop.http.get(f"/pay-orders?since={since}&limit=1", token)).status

    page = await shop.http.get("/pay-orders?limit=1", token)
    micros = int(page.json["next"].split("-")[2])

    assert [await ask(91.9), await ask(93)] == [200, 400]
    assert abs(datetime.fromtimestamp(micros / 1e6, UTC) - (now - timedelta(days=7))) < timedelta(minutes=5)


async def table(shop: Shop, path: str, token: str) -> tuple[list[dict[str, str]], str | None]:
    """Read a list as CSV; return its rows and what goes on after it."""
    reply = await shop.http.send("GET", path, token, headers={"Accept": "text/csv"})
    assert reply.headers["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(reply.content.decode()))), reply.headers.get("Paybell-Next")


async def test_csv_holds_what_is_filtered_and_no_formula(shop: Shop) -> None:
    """Numbers stay numbers; text that a spreadsheet would take for a formula begins with an apostrophe."""
    rows, following = await table(
        shop, "/pay-orders?status=TRADE_SUCCESS&limit=1", shop.token("pay-orders:read")
    )
    refunds, _ = await table(shop, "/refunds", shop.token("refunds:read"))

    expected = [shop.orders[place] | {"subject": "'=cmd|'/c calc'!A1"} for place in (4, 2, 0)]
    assert rows == [
        {name: "" if value is None else str(value) for name, value in order.items()} for order in expected
    ]
    assert following is None
    assert [refund["reason"] for refund in refunds] == ["'+1", "'+1"]


async def test_csv_that_ends_early_says_where_it_goes_on(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "TABLE_ROWS_MAX", 4)
    monkeypatch.setattr(listing, "_TABLE_PAGE", 3)
    token = shop.token("pay-orders:read")

    rows, following = await table(shop, "/pay-orders", token)
    rest, end = await table(shop, f"/pay-orders?after={following}", token)

    assert [row["id"] for row in rows + rest] == [order["id"] for order in shop.orders[::-1]]
    assert (len(rows), end) == (4, None)


async def test_operators_list_every_merchants_payments_with_the_orders_status(shop: Shop) -> None:
    http, token, (payer, _) = shop.http, shop.http.token("carol", "ops:read"), shop.payers
    order = await http.order(payer, 70)
    await http.pay(order["payOrderId"], payer)
    await http.until_order(order["id"], "PAID")

    ours = await http.get(f"/ops/payments?merchantId=1&payerId={payer}&limit=1", token)
    theirs = await http.get(f"/ops/payments?merchantId={shop.merchant}&status=TRADE_SUCCESS", token)
    newest = await http.get("/ops/payments?limit=1", token)
    rows, _ = await table(shop, f"/ops/payments?merchantId={shop.merchant}", token)

    (payment,) = ours.json["payments"]
    assert (payment["bizOrderNo"], payment["orderStatus"]) == (order["id"], "PAID")
    assert newest.json["payments"] == [payment]
    assert theirs.json["payments"] == [shop.orders[place] | {"orderStatus": None} for place in (4, 2, 0)]
    assert [row["id"] for row in rows] == [order["id"] for order in shop.orders[::-1]]


async def test_what_is_not_delivered_is_what_waits_or_what_the_last_comparison_listed(
    postgres: Databases,
) -> None:
    """An api and an ops process, and nobody who publishes; then a comparison that has found one more."""
    settings = replace(SETTINGS, reconcile_seconds=0)
    async with in_process(await fresh_databases(postgres), settings, frozenset({"api", "ops"})) as service:
        http, user = service.client, fresh_user()
        token = http.token("carol", "ops:read")
        await http.fund(user, 100)
        waiting, fine, found, unpaid = [await http.apply(user, 1) for _ in range(4)]
        for order in (waiting, fine, found):
            await http.pay(order["id"], user)
        runtime = service.served.runtime
        books = PayBooks(await runtime.host.database("pay"), await runtime.host.outbox(), "1")
        entry = (await books.find([int(found["bizOrderNo"])]))[int(found["bizOrderNo"])]
        async with connected(service.urls["pay"]) as rows:
            await rows.execute("DELETE FROM outbox WHERE subject <> $1", waiting["bizOrderNo"])
        await books.note_found(RECONCILE, 1, [Difference(entry.number, Kind.PAYMENT_NOT_HEARD, entry, None)])
        listed = await http.get("/ops/payments?notDelivered=true", token)
        some = await http.get(
            f"/ops/payments?notDelivered=true&after={_behind(listed.json['payments'])}", token
        )
        everything = await http.get("/ops/payments", token)

    assert [one["id"] for one in listed.json["payments"]] == [found["id"], waiting["id"]]
    assert [one["id"] for one in some.json["payments"]] == [waiting["id"]]
    assert {one["id"] for one in everything.json["payments"]} > {fine["id"], unpaid["id"]}


def _behind(payments: list[dict[str, Any]]) -> str:
    """Return a cursor behind the first of some payments."""
    return f"1-{payments[0]['id']}-1"
