"""The console's page of the books: differences shown, mended, acknowledged."""

import re

import pytest
from browser import shoot
from consoles import console, paid_order
from playwright.async_api import Browser, expect
from serving import Service, fresh_user
from support import connected, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


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
