"""``serve --sample`` and ``demo --open``: links that are ready to be clicked."""

import re
import signal
from pathlib import Path

import pytest
from browser import DESK, page_of
from playwright.async_api import Browser, expect
from serving import process, run
from support import PASSWORD, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

LINK = re.compile(r"(http://\S+/(?:cashier/\d+|console)#token=\S+)")


async def test_a_fresh_service_shows_a_link_to_pay_and_one_to_look_on(browser: Browser, home: Path) -> None:
    with process("serve", "--sample", log=home / "log", home=home, port=0) as service:

        async def shown() -> bool:
            return len(LINK.findall(service.said)) == 2

        await until(shown, seconds=60)
        cashier, console = LINK.findall(service.said)
        async with (
            page_of(browser, locale="en") as buyer,
            page_of(browser, size=DESK, locale="en") as operator,
        ):
            await operator.goto(console)
            await expect(operator.locator("#live")).to_have_attribute("data-state", "live")
            await buyer.goto(cashier)
            await expect(buyer.locator("#card")).to_have_attribute("data-phase", "open")
            await buyer.keyboard.type(PASSWORD)
            await buyer.locator("#pay").click()
            await expect(buyer.locator("#card")).to_have_attribute("data-phase", "confirmed")


async def test_a_sample_is_for_this_machine_alone(home: Path) -> None:
    code, said = await run("serve", "--sample", "--workers", "2", log=home / "log", home=home, port=0)

    assert (code, "--sample is for one process" in " ".join(said.split())) == (1, True)


async def test_a_demo_that_is_left_open_shows_its_traffic_until_it_is_interrupted(
    browser: Browser, home: Path
) -> None:
    with process("demo", "--orders", "20", "--open", log=home / "log") as demo:

        async def open_() -> bool:
            return "Press Ctrl-C" in demo.said

        await until(open_, seconds=120)
        async with page_of(browser, size=DESK, locale="en") as page:
            await page.goto(next(link for link in LINK.findall(demo.said) if "/console#" in link))
            chart = page.get_by_role("img", name="Payments per second")
            await expect(chart.locator(".line")).not_to_have_count(0, timeout=15_000)
        demo.signal(signal.SIGINT)

        assert await demo.ended() == 0, demo.said
        assert not demo.tracebacks
