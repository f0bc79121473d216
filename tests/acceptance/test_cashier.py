"""The cashier page in a real browser: paying, every refusal, and the news that the order is confirmed."""

import asyncio
import re
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from browser import DESK, PHONE, SMALL, page_of, shifted, shoot, violations, watch_shifts
from playwright.async_api import Browser, Page, expect
from serving import SETTINGS, Client, Service, fresh_databases, fresh_user, in_process
from support import PASSWORD, Databases, connected

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

WRONG = "000000"
# Of the page's area times how far it moves; what a search engine calls good is 0.1.
SHIFT_MOST = 0.02


async def purchase(http: Client, *, balance: int = 5000, fee: int = 1234, **more: Any) -> dict[str, Any]:
    """Return an order of a buyer with this balance."""
    buyer = fresh_user()
    await http.fund(buyer, balance)
    return await http.order(buyer, fee, subject="Two tickets, row 7", **more)


async def open_cashier(page: Page, http: Client, order: dict[str, Any], *, user: str = "") -> None:
    """Open the page as the shop links to it."""
    token = http.token(user or order["buyerId"])
    await page.goto(f"{http.url}/cashier/{order['id']}#token={token}")


async def type_and_pay(page: Page, password: str = PASSWORD) -> None:
    """Press the digits on the pad of a phone, then the button."""
    for digit in password:
        await page.get_by_role("group").get_by_role("button", name=digit, exact=True).click()
    await page.locator("#pay").click()


def phase(page: Page, name: str) -> Any:
    """Expect the page to get there."""
    return expect(page.locator("#card")).to_have_attribute("data-phase", name)


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


# What people meet ------------------------------------------------------------------------------


async def test_a_receipt_has_its_numbers_and_its_time_with_its_zone(browser: Browser, http: Client) -> None:
    order = await purchase(http)
    async with page_of(browser, locale="en-GB", timezone_id="Asia/Shanghai") as page:
        await open_cashier(page, http, order)
        await phase(page, "open")
        await type_and_pay(page)
        await phase(page, "confirmed")
        receipt = page.locator("#receipt")
        for written in ("Two tickets, row 7", "CN¥12.34", order["id"], order["payOrderId"], order["buyerId"]):
            await expect(receipt).to_contain_text(written)
        await expect(receipt).to_contain_text(re.compile(r"20\d\d, \d\d:\d\d:\d\d GMT\+8"))
        await expect(page.get_by_text("You may close this page.")).to_be_visible()
        await page.emulate_media(media="print")
        await expect(receipt).to_be_visible()
        for unwanted in ("#print", "#steps", ".languages"):
            await expect(page.locator(unwanted)).to_be_hidden()
        await shoot(page, "cashier-receipt-printed")


async def test_what_was_refunded_is_not_called_cancelled(browser: Browser, http: Client) -> None:
    order = await purchase(http)
    await http.pay(order["payOrderId"], order["buyerId"])
    await http.until_order(order["id"], "PAID")
    path = f"/pay-orders/{order['payOrderId']}/refunds"
    refunded = await http.send("POST", path, http.shop, {"amount": 1000}, headers={"Idempotency-Key": "back"})
    assert refunded.status == 201
    await http.until_order(order["id"], "PARTIALLY_REFUNDED")
    async with page_of(browser, locale="en") as page:
        await open_cashier(page, http, order)
        await phase(page, "refunded")
        await expect(page.get_by_role("status")).to_contain_text("CN¥10.00 went back to your balance")


async def test_the_language_can_be_switched_and_is_remembered(browser: Browser, http: Client) -> None:
    """In the middle of everything: digits, message and focus stay."""
    order = await purchase(http)
    async with page_of(browser, locale="en") as page:
        await open_cashier(page, http, order)
        await type_and_pay(page, WRONG)
        await expect(page.get_by_role("alert")).to_contain_text("4 tries left")
        await page.keyboard.type("12")
        await page.get_by_role("button", name="中文").click()
        await expect(page.get_by_role("alert")).to_contain_text("还可尝试 4 次")
        await expect(page.locator("#pay")).to_have_text("支付 ¥12.34")
        assert await page.locator("#password").input_value() == "12"
        assert await page.locator("html").get_attribute("lang") == "zh-CN"
        await page.reload()
        await expect(page.locator("#pay")).to_have_text("支付 ¥12.34")


async def test_yen_and_yuan_cannot_be_taken_for_each_other(browser: Browser, http: Client) -> None:
    buyer = fresh_user()
    await http.fund(buyer, 5000, "JPY")
    order = await http.order(buyer, 1234, currency="JPY")
    async with page_of(browser, locale="en") as page:
        await open_cashier(page, http, order)
        await expect(page.locator("#amount")).to_have_text("JP¥1,234")
        await page.get_by_role("button", name="中文").click()
        await expect(page.locator("#amount")).to_have_text("JP¥1,234")


async def test_who_has_a_keyboard_sees_no_keypad(browser: Browser, http: Client) -> None:
    order = await purchase(http)
    async with page_of(browser, size=DESK, locale="en") as page:
        await open_cashier(page, http, order)
        await phase(page, "open")
        await expect(page.locator("#pad")).to_be_hidden()
        await expect(page.locator("#password")).to_be_focused()
        await page.keyboard.type(PASSWORD)
        await page.locator("#pay").click()
        await phase(page, "confirmed")
        await expect(page.locator("#result")).to_be_focused()


async def test_what_to_do_about_a_forgotten_password_stands_there(browser: Browser, http: Client) -> None:
    order = await purchase(http)
    async with page_of(browser, locale="en") as page:
        await open_cashier(page, http, order)
        await page.get_by_text("Forgotten the pay password?").click()
        await expect(page.get_by_text("Ask the support of the shop to set a new one.")).to_be_visible()


async def test_the_way_back_leads_to_allowed_origins_only(browser: Browser, postgres: Databases) -> None:
    """Whatever a link says: another origin, a script, a user before the host, or nothing that is a URL."""
    settings = replace(SETTINGS, shop_name="Tea & Sons", return_origins="https://shop.example")
    async with (
        in_process(await fresh_databases(postgres), settings) as shop,
        page_of(browser, locale="en") as page,
    ):
        order = await purchase(shop.client)
        token, cashier = shop.client.token(order["buyerId"]), f"{shop.client.url}/cashier/{order['id']}"
        for foreign in (
            "https://evil.example/",
            "https://shop.example.evil.example/",
            "https://shop.example@evil.example/",
            "https://me@shop.example/",
            "http://shop.example/",
            "javascript:alert(1)",
            "blob:https://shop.example/1",
            "//evil.example",
            "nowhere",
        ):
            await page.goto(f"{cashier}?returnUrl={quote(foreign, safe='')}#token={token}")
            await expect(page.locator("#return")).to_be_hidden()
        await page.goto(
            f"{cashier}?returnUrl={quote('https://shop.example/orders?id=1', safe='')}#token={token}"
        )
        await phase(page, "open")
        back = page.get_by_role("link", name="Back to Tea & Sons")
        await expect(back).to_have_attribute("href", "https://shop.example/orders?id=1")
        await expect(page.locator("#shop")).to_have_text("Tea & Sons")
        assert await violations(page) == []


async def test_a_skeleton_stands_where_the_order_will(browser: Browser, http: Client) -> None:
    order = await purchase(http)
    async with page_of(browser, locale="en") as page:
        await watch_shifts(page)
        held: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def hold(route: Any) -> None:
            await held
            await route.continue_()

        await page.route("**/wallets/**", hold)
        await open_cashier(page, http, order)
        await phase(page, "loading")
        await expect(page.locator("#pay")).to_be_visible()
        held.set_result(None)
        await phase(page, "open")
        assert await shifted(page) <= SHIFT_MOST


# What must not be ------------------------------------------------------------------------------


async def test_the_token_leaves_the_address_and_never_a_url(browser: Browser, http: Client) -> None:
    order = await purchase(http)
    token, asked = http.token(order["buyerId"]), list[str]()
    async with page_of(browser) as page:
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(f"{http.url}/cashier/{order['id']}#token={token}")
        await phase(page, "open")
        assert page.url == f"{http.url}/cashier/{order['id']}"
        await page.reload()
        await phase(page, "open")

    assert not [url for url in asked if token in url.partition("#")[0]]


@pytest.mark.parametrize("page", ["/cashier/1", "/console"])
async def test_nothing_inline_and_nothing_foreign_may_run(http: Client, page: str) -> None:
    reply = await http.get(page)

    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert b"style=" not in reply.content
    assert b"<style" not in reply.content
    assert re.findall(rb"<script(?![^>]* src=)", reply.content) == []
    assert re.findall(rb'(?:src|href)="(?!(?:\.\./)?pages/|#)', reply.content) == []


async def test_files_are_known_again_by_their_tag(http: Client) -> None:
    first = await http.get("/pages/cashier/cashier.js")
    again = await http.send(
        "GET", "/pages/cashier/cashier.js", headers={"If-None-Match": first.headers["ETag"]}
    )

    assert first.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert (again.status, again.content) == (304, b"")
    assert (await http.get("/pages/../pages.py")).status == 404
    assert (await http.get("/pages/cashier/missing.js")).refusal == (404, "not_found")


MESSAGES = """async () => {
  const { texts } = await import(new URL("../pages/cashier/cashier-text.js", location));
  const [notice, message, hint] = ["notice", "message", "hint"].map((id) => document.getElementById(id));
  const [before, shown] = [message.textContent, hint.hidden];
  hint.hidden = true;
  const taller = [];
  for (const text of Object.values(texts))
    for (const said of [
      text.hint, text.wrong(4), text.locked("23:59"), text.unlocked, text.short("CN¥100,000.00"), text.asking,
      text.walletHint, text.noMethod, text.noWallet, text.notPaid, text.windowClosed,
      ...Object.values(text.windowHint).map((hint) => hint(text.methods.alipay)),
    ]) {
      message.textContent = said;
      if (notice.offsetHeight > parseFloat(getComputedStyle(notice).minHeight) + 1) taller.push(said);
    }
  message.textContent = before;
  hint.hidden = shown;
  return taller;
}"""


@pytest.mark.parametrize(
    ("size", "scheme", "locale"),
    [
        (SMALL, "dark", "en"),
        (SMALL, "light", "zh"),
        (PHONE, "light", "en"),
        (PHONE, "dark", "zh"),
        (DESK, "dark", "en"),
        (DESK, "light", "zh"),
    ],
)
async def test_every_width_theme_and_language_is_accessible_and_nothing_moves(
    browser: Browser, http: Client, size: Any, scheme: Any, locale: str
) -> None:
    order = await purchase(http)
    async with page_of(browser, size=size, color_scheme=scheme, locale=locale) as page:
        await watch_shifts(page)
        await open_cashier(page, http, order)
        await phase(page, "open")
        assert await violations(page) == []
        assert await page.evaluate(MESSAGES) == []
        await page.keyboard.type(WRONG)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("4")
        assert await violations(page) == []
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await phase(page, "confirmed")
        assert await violations(page) == []
        assert await page.evaluate("document.activeElement !== document.body")
        assert await shifted(page) <= SHIFT_MOST
        await shoot(page, f"cashier-{size['width']}-{scheme}-{locale}-confirmed")
