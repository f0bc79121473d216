"""The cashier page in a real browser: paying, every refusal, and the news that the order is confirmed."""

import asyncio
import re
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import pytest
from browser import page_of, shoot
from cashier import WRONG, open_cashier, phase, purchase, type_and_pay
from playwright.async_api import Browser, Page, expect
from serving import Client, Service, fresh_databases, fresh_user, in_process
from support import PASSWORD, Databases, connected

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


Opened = AbstractAsyncContextManager[Page]


# Paying ----------------------------------------------------------------------------------------


async def test_an_order_is_paid_and_seen_to_be_confirmed_without_a_reload(
    browser: Browser, http: Client
) -> None:
    order = await purchase(http)
    async with page_of(browser, locale="en-GB") as page:
        await open_cashier(page, http, order)
        await phase(page, "open")
        await expect(page.locator("#amount")).to_have_text("CN¥12.34")
        await expect(page.locator("#subject")).to_have_text("Two tickets, row 7")
        await expect(page.locator("#balance")).to_have_text("CN¥50.00")
        await expect(page.locator("#left")).to_have_text(re.compile(r"^(01:59|02:00):\d\d$"))
        await shoot(page, "cashier-open")
        await type_and_pay(page)
        await phase(page, "confirmed")
        await expect(page.get_by_role("status")).to_contain_text("Order confirmed")
        await shoot(page, "cashier-confirmed")

    assert await http.balance(order["buyerId"]) == 5000 - 1234


async def test_the_page_speaks_chinese_to_who_prefers_it(browser: Browser, http: Client) -> None:
    order = await purchase(http, balance=100)
    async with page_of(browser, locale="zh-CN") as page:
        await open_cashier(page, http, order)
        await expect(page.locator("#message")).to_contain_text("余额不足，还差 ¥11.34")
        assert await page.locator("html").get_attribute("lang") == "zh-CN"
        await shoot(page, "cashier-chinese-short")
        await http.top_up(order["buyerId"], 2000, "more", currency="CNY")
        await page.get_by_role("button", name="刷新").click()
        await type_and_pay(page)
        await expect(page.get_by_role("status")).to_contain_text("订单已确认")


@pytest.mark.parametrize(
    ("currency", "amount", "written"),
    [
        ("HUF", 12345, "123.45"),
        ("PKR", 12345, "123.45"),
        ("JPY", 12345, "12,345"),
        ("KWD", 12345, "12.345"),
    ],
)
async def test_the_amount_has_the_decimals_that_are_debited(
    browser: Browser, http: Client, currency: str, amount: int, written: str
) -> None:
    """Browsers know other decimals of 17 currencies than ISO 4217, by which the service counts."""
    buyer = fresh_user()
    await http.fund(buyer, amount, currency)
    order = await http.order(buyer, amount, currency=currency)
    async with page_of(browser, locale="en-GB") as page:
        await open_cashier(page, http, order)
        await expect(page.locator("#amount")).to_have_text(re.compile(rf"(^|\D){re.escape(written)}$"))
        await expect(page.locator("#pay")).to_have_text(re.compile(rf"(^|\D){re.escape(written)}$"))


async def test_the_keyboard_alone_is_enough(browser: Browser, http: Client) -> None:
    """Digits, a correction and Enter; nothing has to be pointed at."""
    order = await purchase(http)
    async with page_of(browser, locale="en") as page:
        await open_cashier(page, http, order)
        await phase(page, "open")
        await page.keyboard.type(PASSWORD[:5] + "9")
        await page.keyboard.press("Backspace")
        await page.keyboard.type(PASSWORD[5])
        await page.keyboard.press("Enter")
        await phase(page, "confirmed")


async def test_two_clicks_and_a_second_tab_pay_once(browser: Browser, http: Client) -> None:
    order = await purchase(http)
    async with page_of(browser) as one, page_of(browser) as other:
        for page in (one, other):
            await open_cashier(page, http, order)
            await phase(page, "open")
            await page.keyboard.type(PASSWORD)
        # At once and in the page: a pointer would have to find a button that the other tab takes away.
        twice = "() => { const pay = document.getElementById('pay'); pay.click(); pay.click(); }"
        await asyncio.gather(one.evaluate(twice), other.evaluate(twice))
        await phase(one, "confirmed")
        await phase(other, "confirmed")

    assert await http.balance(order["buyerId"]) == 5000 - 1234


async def test_the_back_button_shows_a_paid_order_as_paid(browser: Browser, http: Client) -> None:
    order = await purchase(http)
    async with page_of(browser) as page:
        await open_cashier(page, http, order)
        await phase(page, "open")
        await page.keyboard.type(PASSWORD)
        await page.locator("#pay").click()
        await phase(page, "confirmed")
        await page.goto(f"{http.url}/healthz")
        await page.go_back()
        await phase(page, "confirmed")
        assert not await page.locator("#form").is_visible()


async def test_paying_elsewhere_is_seen_here(browser: Browser, http: Client) -> None:
    order = await purchase(http)
    async with page_of(browser) as page:
        await open_cashier(page, http, order)
        await phase(page, "open")
        assert (await http.pay(order["payOrderId"], order["buyerId"])).status == 200
        await phase(page, "confirmed")


# Refusals --------------------------------------------------------------------------------------


async def test_wrong_passwords_are_counted_down_until_the_lock(browser: Browser, http: Client) -> None:
    order = await purchase(http)
    async with page_of(browser, locale="en-GB") as page:
        await open_cashier(page, http, order)
        for left in ("4 tries", "3 tries", "2 tries", "One try"):
            await phase(page, "open")
            await type_and_pay(page, WRONG)
            await expect(page.get_by_role("alert")).to_contain_text(f"Wrong pay password. {left}")
            assert await page.locator("#password").input_value() == ""
        await shoot(page, "cashier-wrong")
        await type_and_pay(page, WRONG)
        await expect(page.get_by_role("alert")).to_contain_text(re.compile(r"locked until \d\d:\d\d"))
        for _ in range(2):
            await expect(page.locator("#pay")).to_be_disabled()
            await expect(page.locator("#pad")).to_be_hidden()
            await expect(page.locator("#lock")).to_be_focused()
            await expect(page.locator("#again")).to_have_text(re.compile(r"^(30:00|29:\d\d)$"))
            await shoot(page, "cashier-locked")
            await page.reload()
            await expect(page.get_by_role("alert")).to_contain_text(re.compile(r"locked until \d\d:\d\d"))

    assert await http.balance(order["buyerId"]) == 5000


async def test_money_spent_elsewhere_meanwhile_is_found_out(browser: Browser, http: Client) -> None:
    order = await purchase(http)
    other = await http.order(order["buyerId"], 4000)
    async with page_of(browser, locale="en") as page:
        await open_cashier(page, http, order)
        await phase(page, "open")
        assert (await http.pay(other["payOrderId"], order["buyerId"])).status == 200
        await type_and_pay(page)
        await expect(page.get_by_role("alert")).to_contain_text("Your balance is CN¥2.34 short")
        await expect(page.locator("#balance")).to_have_text("CN¥10.00")


async def test_time_that_has_run_out_ends_the_page(browser: Browser, http: Client, service: Service) -> None:
    order = await purchase(http)
    async with connected(service.urls["pay"]) as rows:
        await rows.execute(
            "UPDATE pay_orders SET created_at = now() - $2::interval, expires_at = now() + interval '3 s' "
            "WHERE id = $1",
            int(order["payOrderId"]),
            timedelta(hours=1),
        )
        await rows.execute(
            "UPDATE pay_order_deadlines SET due_at = now() + interval '3 s' WHERE pay_order_id = $1",
            int(order["payOrderId"]),
        )
    async with page_of(browser, locale="en") as page:
        await open_cashier(page, http, order)
        await phase(page, "closed")
        await expect(page.get_by_role("alert")).to_contain_text("has run out. Nothing was paid")
        await shoot(page, "cashier-expired")
        # Closed by the service meanwhile, and still told from an order that somebody cancelled.
        await http.until_order(order["id"], "CANCELLED")
        await page.reload()
        await phase(page, "closed")
        await expect(page.get_by_role("alert")).to_contain_text("has run out. Nothing was paid")


async def test_a_cancelled_order_says_so_at_once(browser: Browser, http: Client) -> None:
    order = await purchase(http)
    async with page_of(browser, locale="en") as page:
        await open_cashier(page, http, order)
        await phase(page, "open")
        await http.post(f"/orders/{order['id']}/cancel", http.token(order["buyerId"]))
        await phase(page, "closed")
        await expect(page.get_by_role("alert")).to_contain_text("cancelled")
        await page.reload()
        await phase(page, "closed")
        await expect(page.get_by_role("alert")).to_contain_text("cancelled")


@pytest.mark.parametrize(
    ("user", "path", "says"),
    [
        ("", "", "belongs to somebody else"),
        ("nobody", "9000000000000000001", "no such order"),
        (None, "", "not valid any more"),
    ],
)
async def test_who_may_not_pay_is_told_why(
    browser: Browser, http: Client, user: str | None, path: str, says: str
) -> None:
    order = await purchase(http)
    token = "" if user is None else http.token(user or fresh_user())
    async with page_of(browser, locale="en") as page:
        await page.goto(f"{http.url}/cashier/{path or order['id']}#token={token}")
        await phase(page, "failed")
        await expect(page.get_by_role("alert")).to_contain_text(says)
        assert not await page.locator("#form").is_visible()


async def test_an_answer_that_got_lost_is_asked_for_again(browser: Browser, http: Client) -> None:
    """The payment is done and its answer never arrives: the page asks again and pays once."""
    order = await purchase(http)
    async with page_of(browser, locale="en") as page:
        lost = 0

        async def lose(route: Any) -> None:
            nonlocal lost
            await route.fetch()
            lost += 1
            await route.abort()

        await page.route("**/pay-orders/*/pay", lose, times=2)
        await page.route("**/orders/*/events", lambda route: route.abort())
        await open_cashier(page, http, order)
        await phase(page, "open")
        await type_and_pay(page)
        await phase(page, "paid")
        assert lost == 2

    assert await http.balance(order["buyerId"]) == 5000 - 1234


# A service that is away ------------------------------------------------------------------------


async def test_the_page_outlasts_a_service_that_goes_and_comes_back(
    browser: Browser, postgres: Databases
) -> None:
    """It says that it keeps asking, does so, pays once, and needs no reload."""
    urls = await fresh_databases(postgres)
    async with page_of(browser, locale="en") as page:
        async with in_process(urls) as first:
            order = await purchase(first.client)
            await open_cashier(page, first.client, order)
            await phase(page, "open")
            port = int(first.client.url.rpartition(":")[2])
        await expect(page.get_by_role("alert")).to_contain_text("We keep asking")
        await type_and_pay(page)
        await phase(page, "paying")
        await shoot(page, "cashier-away")
        async with in_process(urls, port=port) as second:
            await phase(page, "confirmed")
            assert await second.client.balance(order["buyerId"]) == 5000 - 1234
        await expect(page.locator("#message")).to_be_empty()


async def test_it_asks_for_as_long_as_it_takes(browser: Browser, http: Client) -> None:
    order = await purchase(http)
    async with page_of(browser, locale="en") as page:
        await page.clock.install()
        away = re.compile(r"/orders/")
        await page.route(away, lambda route: route.abort())
        await open_cashier(page, http, order)
        for _ in range(20):
            async with page.expect_event("requestfailed"):
                await page.clock.fast_forward(7_000)
        await expect(page.get_by_role("alert")).to_contain_text("We keep asking")
        await phase(page, "loading")
        await page.unroute(away)
        await page.clock.fast_forward(7_000)
        await phase(page, "open")
        await expect(page.locator("#message")).to_be_empty()
