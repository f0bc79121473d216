"""The cashier page as people meet it in a real browser: receipts, languages, widths; and what may not run."""

import asyncio
import re
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from browser import DESK, PHONE, SMALL, page_of, shifted, shoot, violations, watch_shifts
from cashier import WRONG, open_cashier, phase, purchase, type_and_pay
from playwright.async_api import Browser, expect
from serving import SETTINGS, Client, fresh_databases, fresh_user, in_process
from support import PASSWORD, Databases

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
# Of the page's area times how far it moves; what a search engine calls good is 0.1.
SHIFT_MOST = 0.02


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
