"""The console's audit: what people did by hand in both databases, page by page and as a file."""

import csv
import re

import pytest
from browser import violations
from consoles import console
from playwright.async_api import Browser, expect
from serving import Service
from support import connected

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

DEEDS = """
    INSERT INTO operator_actions (at, who, action, selection, rows)
    SELECT timestamptz '2026-01-01Z' + n * interval '2 minutes', 'ann', 'close', $1 || n, '{1}'
    FROM generate_series(1, 80) AS n
"""


async def deeds(own: Service) -> None:
    """Have 80 actions in each database, turn by turn."""
    for name in ("pay", "trade"):
        async with connected(own.urls[name]) as rows:
            await rows.execute(
                DEEDS.replace("'2026-01-01Z'", f"'2026-01-01 00:0{name == 'trade':d}:00Z'"), name
            )


async def test_every_action_is_on_one_page_and_on_no_other(browser: Browser, own: Service) -> None:
    client = own.client
    await deeds(own)
    seen, after = list[dict[str, str]](), ""
    while True:
        found = (await client.get(f"/ops/actions?limit=7{after}", client.shop)).json
        assert len(found["actions"]) == 7 or found["next"] is None
        seen += found["actions"]
        if found["next"] is None:
            break
        after = f"&after={found['next']}"
    assert [one["at"] for one in seen] == sorted((one["at"] for one in seen), reverse=True)
    wanted = {f"{name}{number}" for name in ("pay", "trade") for number in range(1, 81)}
    assert sorted(one["selection"] for one in seen) == sorted(wanted)
    assert (await client.get("/ops/actions?after=9-9-9", client.shop)).refusal == (400, "invalid_request")

    async with console(browser, client, "/audit") as page:
        rows = page.locator("#actions tbody tr")
        await expect(rows).to_have_count(100)
        await expect(rows.first).to_contain_text(re.compile("ann.*closed.*trade80"))
        await page.get_by_role("link", name="Older").click()
        await expect(rows).to_have_count(60)
        await expect(rows.last).to_contain_text("pay1")
        await page.reload()
        await expect(rows).to_have_count(60)
        assert await violations(page) == []
        async with page.expect_download() as downloading:
            await page.get_by_role("button", name="Download CSV").click()
        file = await (await downloading.value).path()
        with file.open(encoding="utf-8", newline="") as lines:
            assert [one["selection"] for one in csv.DictReader(lines)] == [one["selection"] for one in seen]
        await page.get_by_role("link", name="Newest").click()
        await expect(rows).to_have_count(100)
