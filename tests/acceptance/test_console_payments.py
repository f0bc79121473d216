"""The console's list of payments, and one payment with what can be done about it."""

import asyncio
import re

import pytest
from browser import shoot, violations
from consoles import console, paid_order, unheard_payment
from playwright.async_api import Browser, Route, expect
from serving import Service, fresh_user
from support import connected

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


async def test_the_next_page_is_of_what_was_asked_for_last(browser: Browser, own: Service) -> None:
    """Also when it is pressed before that is answered: the next page of the old list has no filter."""
    client, buyer = own.client, fresh_user()
    await asyncio.gather(*(client.order(buyer, 100 + number) for number in range(53)))
    async with console(browser, client, "/payments") as page:
        rows, rail = page.locator("#payments tbody tr"), page.get_by_role("navigation", name="Pages")
        await expect(rows).to_have_count(50)
        answered = asyncio.Event()

        async def later(route: Route) -> None:
            await answered.wait()
            await route.continue_()

        await page.route(re.compile("payerId="), later)
        await page.get_by_label("Buyer").fill(buyer)
        await page.keyboard.press("Enter")
        await expect(page.locator("#payments")).to_have_attribute("aria-busy", "true")
        pressing = asyncio.create_task(rail.get_by_text("Older").click())
        await expect(page.locator("#payments .pager[inert]")).to_have_count(1)
        answered.set()
        await pressing
        await expect(rows).to_have_count(3)


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
