"""The console's frame: who may open it, where one is, and how all its pages look."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from browser import DESK, PHONE, page_of, shoot, violations
from consoles import choice_of, console, paid_order, unheard_payment
from playwright.async_api import Browser, expect
from serving import Service, fresh_user

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


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


async def test_back_and_reload_keep_what_one_sees(browser: Browser, own: Service) -> None:
    await unheard_payment(own.client)
    async with console(browser, own.client) as page:
        rail = page.get_by_role("navigation", name="Sections")
        for name in ("Payments", "Attempts", "Dead letters", "Books", "Audit"):
            await rail.get_by_role("link", name=name).click()
            await expect(page.get_by_role("heading", level=1)).to_have_text(name)
            await expect(page.get_by_role("heading", level=1)).to_be_focused()
            await expect(rail.get_by_role("link", name=name)).to_have_attribute("aria-current", "page")
            assert name in await page.title()
        for name in ("Books", "Dead letters"):
            await page.go_back()
            await expect(page.get_by_role("heading", level=1)).to_have_text(name)
        await page.get_by_label("Reason").select_option(label=await choice_of(page, "order_not_found"))
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


PAGES = ["", "/payments", "/payments/{order}", "/attempts", "/dead-letters", "/books", "/audit"]
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
