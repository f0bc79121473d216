"""The operations console in a real browser, and the routes behind it."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from browser import DESK, PHONE, page_of, shoot, violations
from playwright.async_api import Browser, Page, Route, expect
from serving import SETTINGS, Client, Service, fresh_databases, fresh_number, fresh_user, in_process
from support import Databases, connected, until

from paybell.testing.ports import free_port

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

STEPS = [
    "order_created",
    "pay_order_created",
    "paid",
    "committed",
    "published",
    "confirmed",
    "delivered",
    "applied",
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own(postgres: Databases) -> AsyncIterator[Service]:
    """A service of this module's own: the console shows everything, and repairs only what it is told."""
    settings = replace(SETTINGS, reconcile_seconds=0)
    async with in_process(await fresh_databases(postgres), settings) as running:
        yield running


@asynccontextmanager
async def console(browser: Browser, client: Client, path: str = "", **options: Any) -> AsyncIterator[Page]:
    """Open a page of the console as an operator does."""
    token = options.pop("token", None) or client.token("operator", "ops")
    async with page_of(browser, size=options.pop("size", DESK), **{"locale": "en-GB", **options}) as page:
        await page.goto(f"{client.url}/console{path}#token={token}")
        await expect(page.locator("#live")).to_have_attribute("data-state", "live")
        yield page


async def paid_order(client: Client, fee: int = 1234) -> dict[str, Any]:
    """Return an order that is paid and knows it."""
    user = fresh_user()
    await client.fund(user, fee)
    order = await client.order(user, fee)
    assert (await client.pay(order["payOrderId"], user)).status == 200
    await client.until_order(order["id"], "PAID")
    return order


async def unheard_payment(client: Client) -> tuple[str, str]:
    """Return an order number and its buyer: paid at pay, and dead at trade, which knows no such order."""
    user, number = fresh_user(), str(fresh_number())
    await client.fund(user, 500)
    pay_order = await client.apply(user, 500, bizOrderNo=number)
    assert (await client.pay(pay_order["payOrderId"], user)).status == 200

    async def dead() -> bool:
        page = (await client.get("/ops/failures", client.shop)).json
        return any(one["eventId"] == f"pay.success:{number}" for one in page["failures"])

    await until(dead)
    return number, user


async def latest(client: Client) -> dict[str, Any]:
    """Return the newest sample."""
    reply = await client.get("/ops/now?samples=1", client.shop)
    frame = reply.content.decode().strip().split("\n\n")[-1]
    sample: dict[str, Any] = msgspec.json.decode(frame.partition("data: ")[2])
    return sample


# Now -------------------------------------------------------------------------------------------


async def test_now_shows_how_payments_go(browser: Browser, own: Service) -> None:
    async with console(browser, own.client) as page:
        for _ in range(5):
            await paid_order(own.client)
        for name in ("Payments per second", "From paid to order paid"):
            drawn = page.get_by_role("figure").filter(has_text=name).first.locator(".line, .lone")
            await expect(drawn).not_to_have_count(0, timeout=15_000)
        await expect(page.locator("#queues")).to_contain_text("trade.pay.success.queue")
        await shoot(page, "console-now")


async def test_a_chart_has_axes_gaps_and_the_value_under_the_pointer(browser: Browser, own: Service) -> None:
    """Samples of one minute, then none for three, then one that has no value between two others."""
    begin = datetime.fromisoformat("2026-03-04T05:06:00+00:00")
    seconds = [*range(0, 60, 2), *range(240, 300, 2)]
    empty = (await latest(own.client)) | {"troubles": []}
    samples = [
        empty
        | {
            "at": (begin + timedelta(seconds=at)).isoformat(),
            "paymentsPerSecond": float(at),
            "confirmedSeconds50": None if at == 250 else 0.012,
            "confirmedSeconds99": 0.5,
        }
        for at in seconds
    ]
    async with page_of(browser, size=DESK, locale="en", timezone_id="Asia/Shanghai") as page:
        await page.route("**/ops/now", lambda route: route.fulfill(body=history(samples)))
        await page.goto(f"{own.client.url}/console#token={own.client.token('operator', 'ops')}")
        rate, median, p99 = (page.locator(".chart").nth(index) for index in range(3))
        await expect(rate.locator(".level text")).to_have_text(["0", "100", "200", "300"])
        await expect(rate.locator(".hour text")).to_have_text(["13:00", "13:05", "13:10"])
        await expect(rate.locator(".gap")).to_have_count(1)
        await expect(rate.locator(".line")).to_have_count(2)
        await expect(median.locator(".line")).to_have_count(3)
        await expect(median).to_contain_text("12 ms")
        await expect(p99).to_contain_text("500 ms")
        await rate.get_by_role("img").focus()
        await page.keyboard.press("ArrowLeft")
        await expect(rate.locator(".tip")).to_have_text("298 2026-03-04 13:10:58 UTC+8")
        await rate.get_by_role("img").hover(position={"x": 100, "y": 50})
        await expect(rate.locator(".tip")).to_be_visible()


def history(samples: list[dict[str, Any]]) -> bytes:
    """A stream that sends this and ends."""
    return b"event: history\ndata: " + msgspec.json.encode(samples) + b"\n\n"


async def test_what_is_wrong_stands_first_with_what_to_do(browser: Browser, own: Service) -> None:
    await unheard_payment(own.client)
    async with console(browser, own.client) as page:
        trouble = page.locator(".trouble", has_text="dead letter")
        await expect(trouble).to_contain_text("repair the cause")
        await expect(page.get_by_role("link", name="Now")).to_contain_text(re.compile("[0-9]"))
        await trouble.get_by_role("link", name="Dead letters").click()
        await expect(page).to_have_url(re.compile("/console/dead-letters$"))
        await expect(page.get_by_role("heading", level=1)).to_have_text("Dead letters")


async def test_a_service_that_is_gone_is_an_alarm_until_it_is_back(
    browser: Browser, postgres: Databases
) -> None:
    """Nothing stays green that nobody knows, on no page."""
    urls, settings = await fresh_databases(postgres), replace(SETTINGS, reconcile_seconds=0)
    port = free_port()
    async with page_of(browser, size=DESK, locale="en") as page:
        async with in_process(urls, settings, port=port) as first:
            await page.goto(f"{first.client.url}/console#token={first.client.token('operator', 'ops')}")
            await expect(page.locator(".troubles")).to_contain_text("Everything is well")
        await expect(page.locator(".trouble.lost")).to_contain_text("nobody knows how payments stand")
        await expect(page.locator(".trouble.lost time")).to_have_text(re.compile("^20.* UTC"))
        await expect(page.get_by_text("Everything is well")).to_have_count(0)
        await expect(page.locator(".stale .charts")).to_be_visible()
        assert await violations(page) == []
        await shoot(page, "console-lost")
        await page.get_by_role("link", name="Audit").click()
        await expect(page.locator("#live")).to_have_attribute("data-state", "lost")
        await expect(page.locator("#view").get_by_role("alert")).to_contain_text("does not answer")
        async with in_process(urls, settings, port=port):
            await expect(page.locator("#live")).to_have_attribute("data-state", "live", timeout=20_000)
            await page.get_by_role("button", name="Try again").click()
            await expect(page.locator("#actions table")).to_be_visible()


async def test_payments_are_counted_each_once(own: Service) -> None:
    """The rates of the samples add up to the payments that were made."""
    client, made = own.client, 20

    async def quiet() -> bool:
        return bool((await latest(client))["paymentsPerSecond"] == 0.0)

    await until(quiet, seconds=20)
    begun = (await latest(client))["at"]
    for _ in range(made):
        await paid_order(client, 1)

    async def counted() -> float:
        reply = await client.get("/ops/now?samples=0", client.shop)
        history = msgspec.json.decode(reply.content.decode().partition("data: ")[2])
        moments = [(datetime.fromisoformat(one["at"]), one) for one in history]
        return sum(
            float(one["paymentsPerSecond"]) * (at - before).total_seconds()
            for (before, _), (at, one) in pairwise(moments)
            if one["at"] > begun and one["paymentsPerSecond"]
        )

    async def all_counted() -> bool:
        return abs(await counted() - made) < 0.01

    await until(all_counted, seconds=15)


async def test_the_time_of_a_settlement_is_seen_where_none_is_made(own: Service) -> None:
    """By a process with the console alone, from what the others say in the database."""
    async with in_process(own.urls, SETTINGS, frozenset({"ops"})) as alone:

        async def seen() -> bool:
            await paid_order(own.client)
            seconds = (await latest(alone.client))["settleSeconds"]
            return seconds is not None and 0 < seconds < 1

        await until(seen, seconds=20)


# One payment -----------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["id", "payOrderId", "event", "transfer"])
async def test_a_payment_is_found_by_any_of_its_ids(own: Service, by: str) -> None:
    order = await paid_order(own.client)
    async with connected(own.urls["pay"]) as rows:
        query = "SELECT id FROM transfers WHERE kind = 'payment' AND reference = $1"
        transfer = await rows.fetchval(query, order["payOrderId"])
    names = {"event": f"pay.success:{order['id']}", "transfer": str(transfer)} | order

    found = (await own.client.get(f"/ops/payments/{names[by]}", own.client.shop)).json

    assert (found["bizOrderNo"], found["payOrderId"]) == (order["id"], order["payOrderId"])
    assert (found["payStatus"], found["orderStatus"]) == ("TRADE_SUCCESS", "PAID")
    assert {step["name"] for step in found["steps"]} == set(STEPS)
    assert {step["state"] for step in found["steps"]} == {"done"}
    assert [one["kind"] for one in found["transfers"]] == ["payment"]
    assert [(one["state"], one["body"]) for one in found["messages"]] == [("applied", order["id"])]


async def test_the_timeline_says_what_has_not_happened(own: Service) -> None:
    client = own.client
    user = fresh_user()
    await client.fund(user, 100)
    order = await client.order(user, 100)
    unpaid = (await client.get(f"/ops/payments/{order['id']}", client.shop)).json
    number, _ = await unheard_payment(client)
    unheard = (await client.get(f"/ops/payments/{number}", client.shop)).json

    assert [(step["name"], step["state"]) for step in unpaid["steps"]][-1] == ("paid", "waiting")
    assert [(step["name"], step["state"]) for step in unheard["steps"]][-1] == ("applied", "waiting")
    assert [(one["state"], one["reason"]) for one in unheard["messages"]] == [("dead", "order_not_found")]
    assert (await client.get("/ops/payments/999", client.shop)).refusal == (404, "pay_order_not_found")
    assert (await client.get("/ops/payments/x", client.shop)).refusal == (404, "pay_order_not_found")


async def test_a_refund_is_part_of_the_way(own: Service) -> None:
    client, order = own.client, await paid_order(own.client)
    path = f"/pay-orders/{order['payOrderId']}/refunds"
    reply = await client.send("POST", path, client.shop, {"amount": 200}, headers={"Idempotency-Key": "r"})
    await client.until_order(order["id"], "PARTIALLY_REFUNDED")

    found = (await client.get(f"/ops/payments/{reply.json['refundId']}", client.shop)).json

    assert (found["refundedAmount"], found["steps"][-1]["name"]) == (200, "refunded")
    assert [one["kind"] for one in found["transfers"]] == ["payment", "refund"]
    refunds = [(one["id"], one["amount"], one["status"]) for one in found["refunds"]]
    assert refunds == [(reply.json["refundId"], 200, "SUCCEEDED")]


async def test_the_page_shows_a_payments_way(browser: Browser, own: Service) -> None:
    order = await paid_order(own.client)
    async with console(browser, own.client, "/payments", permissions=["clipboard-write"]) as page:
        await page.get_by_label("Order, pay order, refund, transfer or event id").fill(order["payOrderId"])
        await page.get_by_role("button", name="Find").click()
        await expect(page).to_have_url(f"{own.client.url}/console/payments/{order['payOrderId']}")
        await expect(page.locator(".way li")).to_have_count(len(STEPS))
        await expect(page.get_by_role("heading", level=1)).to_have_text("12.34 CNY")
        await expect(page.locator(".facts .mark")).to_have_text(["Paid", "Order paid"])
        await expect(page.locator(".way time").first).to_have_text(re.compile(r"^20\S+ \d\d:\S+ UTC"))
        shares = (
            await page.locator(".phase")
            .last.locator(".bar-of-time span")
            .evaluate_all(
                "bars => bars.map(bar => bar.getBoundingClientRect().width / bar.parentNode.clientWidth)"
            )
        )
        assert sum(shares) == pytest.approx(1, abs=0.05)
        await page.get_by_role("button", name=f"Copy {order['id']}", exact=True).click()
        await expect(page.get_by_title("Copied")).to_be_visible()
        await shoot(page, "console-payment")
        await page.reload()
        await expect(page.locator(".way li")).to_have_count(len(STEPS))
        await page.go_back()
        await page.get_by_label("Order, pay order").fill("1")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("There is no such pay order")


async def test_a_refund_asks_with_amount_and_buyer_and_is_made_once(browser: Browser, own: Service) -> None:
    """Its first answer is lost; the same question asked again is the same refund."""
    order = await paid_order(own.client)
    answers = 0

    async def lose_the_first(route: Route) -> None:
        nonlocal answers
        answers += 1
        response = await route.fetch()
        await (route.abort() if answers == 1 else route.fulfill(response=response))

    async with console(browser, own.client, f"/payments/{order['id']}") as page:
        await page.route("**/refund", lose_the_first)
        await page.get_by_role("button", name="Refund").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog.get_by_label("Amount in CNY")).to_have_value("12.34")
        await dialog.get_by_label("Amount in CNY").fill("12.35")
        answer = dialog.get_by_role("button", name=f"to {order['buyerId']}")
        await answer.click()
        await expect(dialog.get_by_role("alert")).to_contain_text("at most 12.34 CNY")
        await dialog.get_by_label("Amount in CNY").fill("2.00")
        await expect(answer).to_have_text(f"Refund 2.00 CNY to {order['buyerId']}")
        await answer.click()
        await expect(dialog.get_by_role("alert")).to_contain_text("Say why")
        await dialog.get_by_label("Why").fill("one ticket of two")
        assert await violations(page) == []
        await shoot(page, "console-refund")
        await answer.click()
        await expect(dialog.get_by_role("alert")).to_contain_text("does not answer")
        await answer.click()
        await expect(dialog).to_have_count(0)
        await expect(page.locator(".facts")).to_contain_text("2.00 CNY · 10.34 CNY left")
        await expect(page.get_by_role("region", name="Refunds")).to_contain_text("one ticket of two")
        audit = page.get_by_role("region", name="Audit").locator("tbody tr")
        await expect(audit).to_contain_text(re.compile("operator.*refunded.*one ticket of two"))
    assert (answers, await own.client.balance(order["buyerId"])) == (2, 200)
    await own.client.until_order(order["id"], "PARTIALLY_REFUNDED")


async def test_an_unpaid_order_is_closed_and_a_paid_one_published_again(
    browser: Browser, own: Service
) -> None:
    buyer = fresh_user()
    await own.client.fund(buyer, 100)
    unpaid, paid = await own.client.order(buyer, 100), await paid_order(own.client)
    async with console(browser, own.client, f"/payments/{unpaid['id']}") as page:
        await page.get_by_role("button", name="Close").click()
        await page.get_by_role("button", name=f"Close 1.00 CNY of {buyer}").click()
        await expect(page.locator(".facts .mark").first).to_have_text("Closed")
        await expect(page.get_by_role("button", name="Refund")).to_have_count(0)
        await own.client.until_order(unpaid["id"], "CANCELLED")
        await page.goto(f"{own.client.url}/console/payments/{paid['id']}")
        await page.get_by_role("button", name="Publish again").click()
        await page.get_by_role("button", name=f"Publish 12.34 CNY of {paid['buyerId']} again").click()
        await expect(page.get_by_role("region", name="Audit")).to_contain_text("published again")


@pytest.mark.parametrize(
    ("scopes", "offered"),
    [
        ("ops:read", []),
        ("ops:read ops:repair", ["Publish again …"]),
        ("ops", ["Refund …", "Publish again …"]),
    ],
)
async def test_what_a_token_does_not_allow_is_not_offered(
    browser: Browser, own: Service, scopes: str, offered: list[str]
) -> None:
    order = await paid_order(own.client)
    token = own.client.token("operator", *scopes.split())
    async with console(browser, own.client, f"/payments/{order['id']}", token=token) as page:
        await expect(page.locator(".way")).not_to_have_count(0)
        assert await page.locator("#tools .inline button").all_inner_texts() == offered
        await page.get_by_role("link", name="Books").click()
        await expect(page.get_by_role("button", name="Compare and repair")).to_have_count(
            0 if scopes == "ops:read" else 1
        )


# Payments --------------------------------------------------------------------------------------


async def test_payments_are_listed_filtered_and_downloaded(browser: Browser, own: Service) -> None:
    """The address holds the filters and the page, so back and reload show the same."""
    client, buyer = own.client, fresh_user()
    await client.fund(buyer, 1000)
    made = [await client.order(buyer, 100 + number) for number in range(53)]
    await client.pay(made[7]["payOrderId"], buyer)
    await client.until_order(made[7]["id"], "PAID")
    async with console(browser, client, "/payments") as page:
        rows, rail = page.locator("#payments tbody tr"), page.get_by_role("navigation", name="Pages")
        await page.get_by_label("Buyer").fill(buyer)
        await page.keyboard.press("Enter")
        await expect(rows).to_have_count(50)
        await expect(rows.first).to_contain_text("1.52 CNY")
        await rail.get_by_role("link", name="Older").click()
        await expect(rows).to_have_count(3)
        await expect(rows.last).to_contain_text("1.00 CNY")
        await page.reload()
        await expect(rows).to_have_count(3)
        await page.go_back()
        await expect(rows).to_have_count(50)
        await expect(page.get_by_label("Buyer")).to_have_value(buyer)
        await rows.nth(45).get_by_role("link").click()
        await expect(page.locator(".way")).not_to_have_count(0)
        await page.go_back()
        await expect(rows.nth(45)).to_be_in_viewport()
        async with page.expect_download() as downloading:
            await page.get_by_role("button", name="Download CSV").click()
        file = await (await downloading.value).path()
        assert len(file.read_text("utf-8").splitlines()) == 1 + len(made)
        await page.get_by_label("Amount from").fill("150")
        await page.keyboard.press("Enter")
        await expect(rows).to_have_count(3)
        await page.get_by_label("Status").select_option("Closed")
        await expect(page.locator("#payments .empty")).to_have_text("No payment matches these filters.")
        await page.get_by_role("link", name="Clear filters").click()
        await page.get_by_label("Buyer").fill(buyer)
        await page.get_by_label("Status").select_option("Paid")
        await expect(rows).to_have_count(1)
        await expect(rows).to_contain_text("1.07 CNY")
        await page.get_by_label("Created from").fill("2020-01-01T00:00")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("at most 92 days before until")
        await page.go_back()
        await rows.get_by_role("link").first.click()
        await expect(page).to_have_url(re.compile(f"/payments/{made[7]['payOrderId']}$"))


# Dead letters ----------------------------------------------------------------------------------


async def test_a_dead_letter_is_read_and_replayed_after_its_cause_is_mended(
    browser: Browser, own: Service
) -> None:
    number, user = await unheard_payment(own.client)
    async with console(browser, own.client, "/dead-letters") as page:
        await page.get_by_role("link", name=f"pay.success:{number}").click()
        await expect(page.get_by_role("dialog")).to_contain_text("there is no order of this number")
        await expect(page.locator("#letter-body")).to_have_text(number)
        assert await violations(page) == []
        await shoot(page, "console-dead-letter")
        await page.reload()
        await expect(page.get_by_role("dialog")).to_contain_text("there is no order of this number")
        await own.client.order(user, 500, orderId=number)
        await page.get_by_role("button", name="Replay this one").click()
        await expect(page.locator("#replay-state")).to_contain_text("1 applied, 0 failed again, 0 still")
        await expect(page.get_by_role("link", name=number)).to_have_count(0)
        newest = page.locator("table").last.locator("tbody tr").first
        await expect(newest).to_contain_text(re.compile(r"operator.*replayed.*by number.*1"))
    await own.client.until_order(number, "PAID")


async def test_a_dead_letter_is_given_up_after_a_question(browser: Browser, own: Service) -> None:
    number, _ = await unheard_payment(own.client)
    async with console(browser, own.client, "/dead-letters") as page:
        row = page.locator("#failures tr", has_text=number)
        await row.get_by_role("checkbox").check()
        for answer in ("Cancel", "Give up 1"):
            await page.get_by_role("button", name="Give up selected (1)").click()
            await expect(page.get_by_role("dialog")).to_contain_text("Give up 1 selected?")
            await page.get_by_role("button", name=answer, exact=True).click()
            await expect(row).to_have_count(1 if answer == "Cancel" else 0)
        await expect(page.locator("#replay-state")).to_contain_text("1 given up")
        await page.get_by_role("link", name="Given up").click()
        await expect(page.get_by_role("link", name=number)).to_be_visible()


async def test_after_a_replay_filter_rows_and_counts_agree(browser: Browser, own: Service) -> None:
    """Two of three find their order now; the third fails again, and the page says so."""
    letters = [await unheard_payment(own.client) for _ in range(3)]
    dead = await _dead(own.client)
    async with console(browser, own.client, "/dead-letters") as page:
        await page.get_by_label("Reason").select_option(label=await _option(page, "order_not_found"))
        await expect(page).to_have_url(re.compile("reason=order_not_found"))
        await expect(page.locator("#failures tbody tr")).to_have_count(dead)
        for number, user in letters[:2]:
            await own.client.order(user, 500, orderId=number)
        await shoot(page, "console-dead-letters")
        await page.locator("#replay-all").click()
        question = page.get_by_role("dialog")
        await expect(question).to_contain_text(f"all {dead} with order_not_found at trade.pay.success")
        await question.get_by_role("button", name=f"Replay all {dead}").click()
        left = dead - 2
        await expect(page.locator("#replay-state")).to_contain_text(
            f"{dead} handed to their listeners: 2 applied, {left} failed again, 0 still being tried."
        )
        await expect(page.locator("#failures tbody tr")).to_have_count(left)
        await expect(page.get_by_label("Reason")).to_have_value(re.compile("order_not_found"))
        await expect(page.locator("#group option:checked")).to_contain_text(f"({left})")
        await expect(page.get_by_role("navigation", name="State").get_by_role("link").first).to_have_text(
            f"Dead {left}"
        )
        await expect(page.locator("#replay-all")).to_have_text(f"Replay all {left}")
        await page.reload()
        await expect(page.locator("#group option:checked")).to_contain_text(f"({left})")
    for number, _ in letters[:2]:
        await own.client.until_order(number, "PAID")


async def test_pages_of_dead_letters_have_addresses_and_all_of_a_kind_are_replayed(
    browser: Browser, own: Service
) -> None:
    """The service sends 100 rows at once; a choice and the next page asked for at once do not mix."""
    async with connected(own.urls["trade"]) as rows, console(browser, own.client, "/dead-letters") as page:
        await rows.execute(
            "INSERT INTO failed_deliveries (listener, event_id, state, reason, error, attempts, exchange, "
            "routing_key, content_type, headers, body, first_failed_at, last_failed_at) "
            "SELECT 'nobody', n, 'dead', 'many', '', 1, '', '', '', '{}', '', now(), now() "
            "FROM generate_series(1, 250) AS n"
        )
        await page.locator("#reload").click()
        await page.get_by_label("Reason").select_option(label=await _option(page, "many"))
        for shown in (100, 50):
            await page.locator("#more").click()
            await expect(page.locator("#failures tbody tr")).to_have_count(shown)
            await expect(page.locator("#failures tbody")).not_to_contain_text("order_not_found")
        await page.go_back()
        await expect(page.locator("#failures tbody tr")).to_have_count(100)
        await page.locator("#replay-all").click()
        await page.get_by_role("dialog").get_by_role("button", name="Replay all 250").click()
        await expect(page.locator("#replay-state")).to_contain_text("250 handed to their listeners")
        query = "DELETE FROM failed_deliveries WHERE reason = 'many' RETURNING state"
        assert [row["state"] for row in await rows.fetch(query)] == ["retry"] * 250


async def _option(page: Page, reason: str) -> str:
    option = page.locator("#group option", has_text=reason).first
    await expect(option).to_be_attached()
    return await option.inner_text()


async def _dead(client: Client) -> int:
    return len((await client.get("/ops/failures", client.shop)).json["failures"])


async def test_what_operators_did_cannot_be_edited(own: Service) -> None:
    await unheard_payment(own.client)
    await own.client.post("/ops/failures/replay", own.client.token("carol", "ops"), {"most": 1})

    newest = (await own.client.get("/ops/actions", own.client.shop)).json["actions"][0]
    async with connected(own.urls["trade"]) as rows:
        for change in ("UPDATE operator_actions SET who = 'x'", "DELETE FROM operator_actions"):
            with pytest.raises(Exception, match="append-only"):
                await rows.execute(change)

    assert (newest["who"], newest["action"], newest["rows"]) == ("carol", "replay", 1)


# The books -------------------------------------------------------------------------------------


async def test_a_difference_is_shown_and_mended(browser: Browser, own: Service) -> None:
    """*repaired* stands at the row of which the order says so."""
    order = await paid_order(own.client)
    async with connected(own.urls["trade"]) as rows:
        await rows.execute(
            "UPDATE orders SET status = 'UNPAID', paid_at = NULL, version = 0 WHERE id = $1", int(order["id"])
        )
    async with console(browser, own.client, "/books") as page:
        await page.get_by_role("button", name="Compare", exact=True).click()
        row = page.locator("#differences tr", has_text=order["id"])
        await expect(row).to_contain_text("payment not delivered", timeout=20_000)
        await expect(row).to_contain_text("unpaid · 12.34 CNY")
        await shoot(page, "console-books")
        await page.get_by_role("button", name="Compare and repair").click()
        await page.get_by_role("dialog").get_by_role("button", name="Compare and publish again").click()
        await expect(row).to_contain_text("repaired: paid", timeout=20_000)
        await own.client.until_order(order["id"], "PAID")
        await expect(page.locator("#compared li", has_text="Repaired")).to_contain_text("1")
        await page.get_by_role("link", name="Audit").click()
        await expect(page.locator("#actions")).to_contain_text(re.compile("operator.*repaired"))
    actions = (await own.client.get("/ops/actions", own.client.shop)).json["actions"]
    assert [one["database"] for one in actions if one["action"] == "repair"] == ["pay", "trade"]


async def test_a_difference_is_acknowledged_with_its_reason(browser: Browser, own: Service) -> None:
    user = fresh_user()
    await own.client.fund(user, 1)
    order = await own.client.apply(user, 1)
    await own.client.pay(order["payOrderId"], user)
    async with console(browser, own.client, "/books") as page:
        row = page.locator("#differences tr", has_text=order["bizOrderNo"])

        async def compared() -> bool:
            await page.get_by_role("button", name="Compare", exact=True).click()
            await expect(page.locator("#compared")).to_contain_text("Compared to the end")
            return await row.count() == 1

        await until(compared)  # its event has left the outbox
        await row.get_by_role("button", name="Acknowledge").click()
        dialog = page.get_by_role("dialog", name=f"May order {order['bizOrderNo']} differ?")
        answer = dialog.get_by_role("button", name=f"Acknowledge order {order['bizOrderNo']}")
        await answer.click()
        await expect(dialog.get_by_role("alert")).to_contain_text("Say why")
        await dialog.get_by_label("Why").fill("sold at the counter")
        await answer.click()
        await expect(row).to_have_count(0)
    actions = (await own.client.get("/ops/actions", own.client.shop)).json["actions"]
    assert (actions[0]["action"], actions[0]["selection"]) == ("acknowledge", "sold at the counter")


# Who may ---------------------------------------------------------------------------------------


async def test_without_a_token_the_page_asks_for_one(browser: Browser, own: Service) -> None:
    async with page_of(browser, size=DESK, locale="en") as page:
        await page.goto(f"{own.client.url}/console/audit")
        await expect(page.locator("#gate")).to_contain_text("paybell token NAME --scope ops")
        await expect(page.get_by_text("trying again")).to_have_count(0)
        assert await violations(page) == []
        await page.get_by_label("Token").fill(own.client.token("operator", "ops"))
        await page.get_by_role("button", name="Open", exact=True).click()
        await expect(page.locator("#actions table")).to_be_visible()
        await expect(page).to_have_url(f"{own.client.url}/console/audit")


async def test_without_the_scope_the_page_says_which_is_needed(browser: Browser, own: Service) -> None:
    async with page_of(browser, size=DESK, locale="en") as page:
        await page.goto(f"{own.client.url}/console#token={own.client.token('eve', 'orders:read')}")
        await expect(page.locator("#gate")).to_contain_text("needs the scope ops")
        await expect(page.get_by_text("Everything is well")).to_have_count(0)


async def test_a_token_that_expires_says_so_and_leaves_no_figures(browser: Browser, own: Service) -> None:
    token = own.client.tokens.mint("operator", "ops", lifetime_seconds=2)
    async with page_of(browser, size=DESK, locale="en") as page:
        await page.goto(f"{own.client.url}/console/books#token={token}")
        await expect(page.locator("#gate")).to_contain_text("Your token has expired")
        await expect(page.locator("#gate time")).to_have_text(re.compile("^20.* UTC"))
        await expect(page.get_by_role("button", name="Compare", exact=True)).not_to_be_focused()
        await expect(page.locator("#compared")).to_have_text("")
        await expect(page.locator("#live")).to_have_text("Not connected")
        await shoot(page, "console-expired")


async def test_an_operators_token_is_not_the_cashiers(browser: Browser, own: Service) -> None:
    """Both in one tab, one after the other and back."""
    client, buyer = own.client, fresh_user()
    await client.fund(buyer, 100)
    order = await client.order(buyer, 100)
    async with console(browser, client) as page:
        await page.goto(f"{client.url}/cashier/{order['id']}#token={client.token(buyer)}")
        await expect(page.locator("#card")).to_have_attribute("data-phase", "open")
        await page.go_back()
        await page.reload()
        await expect(page.locator("#live")).to_have_attribute("data-state", "live")


# Where one is, when, and how it looks ----------------------------------------------------------


async def test_back_and_reload_keep_what_one_sees(browser: Browser, own: Service) -> None:
    await unheard_payment(own.client)
    async with console(browser, own.client) as page:
        rail = page.get_by_role("navigation", name="Sections")
        for name in ("Payments", "Dead letters", "Books", "Audit"):
            await rail.get_by_role("link", name=name).click()
            await expect(page.get_by_role("heading", level=1)).to_have_text(name)
            await expect(page.get_by_role("heading", level=1)).to_be_focused()
            await expect(rail.get_by_role("link", name=name)).to_have_attribute("aria-current", "page")
            assert name in await page.title()
        for name in ("Books", "Dead letters"):
            await page.go_back()
            await expect(page.get_by_role("heading", level=1)).to_have_text(name)
        await page.get_by_label("Reason").select_option(label=await _option(page, "order_not_found"))
        await page.reload()
        await expect(page.locator("#group option:checked")).to_contain_text("order_not_found")
        await page.go_back()
        await expect(page.locator("#group option:checked")).to_contain_text("All (")
        for path in ("/", "/audit/"):
            await page.goto(f"{own.client.url}/console{path}")
            await expect(page.locator("#live")).to_have_attribute("data-state", "live")


@pytest.mark.parametrize(("zone", "name"), [("Asia/Shanghai", r"UTC\+8"), ("America/New_York", "UTC-[45]")])
async def test_all_times_are_of_one_zone(browser: Browser, own: Service, zone: str, name: str) -> None:
    """The browser's, or UTC as soon as one says so; with date and zone everywhere, and remembered."""
    order = await paid_order(own.client)
    path = f"/payments/{order['id']}"
    async with console(browser, own.client, path, timezone_id=zone) as page:
        times = page.locator("time")
        local = re.compile(rf"^20\d\d-\d\d-\d\d \d\d:\d\d:\d\d(\.\d\d\d)? {name}$")
        utc = re.compile(r"^20\d\d-\d\d-\d\d \d\d:\d\d:\d\d(\.\d\d\d)? UTC$")
        await expect(times).not_to_have_count(0)
        assert [one for one in await times.all_inner_texts() if not local.match(one)] == []
        await page.get_by_text("UTC", exact=True).click()
        await expect(times.last).to_have_text(utc)
        assert [one for one in await times.all_inner_texts() if not utc.match(one)] == []
        await page.reload()
        await expect(times.first).to_have_text(utc)
        created = await times.first.get_attribute("datetime")
        assert created is not None
        moment = datetime.fromisoformat(created).astimezone(UTC)
        assert (await times.first.inner_text()).startswith(f"{moment:%Y-%m-%d %H:%M:%S}")


_NAMES = """async () => {
    const names = (value, path) => value && typeof value === "object"
        ? Object.entries(value).flatMap(([name, inner]) => names(inner, `${path}.${name}`))
        : [`${path}: ${typeof value}`];
    const [{ english }, { chinese }] = await Promise.all(["en", "zh"].map(
        (tag) => import(new URL(`pages/operations/text-${tag}.js`, location.origin))
    ));
    return [names(english, "").sort(), names(chinese, "").sort()];
}"""


async def test_both_languages_say_the_same_things(browser: Browser, own: Service) -> None:
    async with console(browser, own.client) as page:
        english, chinese = await page.evaluate(_NAMES)
        assert set(english) ^ set(chinese) == set()
        await page.get_by_role("button", name="中文").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("当前")


PAGES = ["", "/payments", "/payments/{order}", "/dead-letters", "/books", "/audit"]
_SHIFTS = """window.shifts = 0;
new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifts += entry.value;
}).observe({ type: "layout-shift", buffered: true });"""


@pytest.mark.parametrize(
    ("size", "scheme", "locale"),
    [(DESK, "light", "en"), (DESK, "dark", "zh-CN"), (PHONE, "dark", "en"), (PHONE, "light", "zh-CN")],
    ids=["desk-light-en", "desk-dark-zh", "phone-dark-en", "phone-light-zh"],
)
async def test_every_page_can_be_used_by_all_and_holds_still(
    browser: Browser, own: Service, size: Any, scheme: Any, locale: str
) -> None:
    """Axe finds nothing, nothing moves while it loads, and nothing is wider than the window."""
    await unheard_payment(own.client)
    order = await paid_order(own.client)
    async with console(browser, own.client, color_scheme=scheme, size=size, locale=locale) as page:
        await page.add_init_script(_SHIFTS)
        for path in PAGES:
            await page.goto(f"{own.client.url}/console{path.format(order=order['id'])}")
            await expect(page.locator("#live")).to_have_attribute("data-state", "live")
            await expect(page.locator(".skeleton, [aria-busy=true]")).to_have_count(0)
            assert await violations(page) == [], path
            assert await page.evaluate("window.shifts") <= 0.02, path
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            name = path.split("/")[1:2] or ["now"]
            await shoot(page, f"console-{name[0]}-{scheme}-{locale}-{size['width']}")
