"""The console's page *Now*, and the samples beneath it."""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from browser import DESK, page_of, shoot, violations
from consoles import console, latest, paid_order, unheard_payment
from playwright.async_api import Browser, expect
from serving import SETTINGS, Service, fresh_databases, in_process
from support import Databases, until

from paybell.testing.ports import free_port

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


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


async def test_what_changes_leaves_links_where_they_are(browser: Browser, own: Service) -> None:
    """Several samples a second: a link made anew between press and release is not followed."""
    await unheard_payment(own.client)
    async with console(browser, own.client) as page:
        link = page.locator(".trouble").get_by_role("link", name="Dead letters")
        await link.focus()
        await link.hover()
        await page.mouse.down()
        await unheard_payment(own.client)
        await expect(page.locator(".trouble b", has_text="dead letters")).to_be_visible()
        await expect(link).to_be_focused()
        await page.mouse.up()
        await expect(page).to_have_url(re.compile("/console/dead-letters$"))


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
