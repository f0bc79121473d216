"""The console's dead letters, read, replayed and given up."""

import re

import pytest
from browser import shoot, violations
from consoles import choice_of, console, unheard_payment
from playwright.async_api import Browser, expect
from serving import Client, Service
from support import connected

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


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
        await page.get_by_label("Reason").select_option(label=await choice_of(page, "order_not_found"))
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
        await page.get_by_label("Reason").select_option(label=await choice_of(page, "many"))
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
