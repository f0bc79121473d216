"""The pictures in README: ``make screenshots`` takes them, the test holds them to the pages as they are.

Pixels differ from one font to the next, so what is compared is the picture's size and what the page said
when it was taken: its headings, columns, labels and buttons.
"""

import json
import os
import re
import struct
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from browser import DESK, PHONE, page_of
from playwright.async_api import Browser, Page, expect
from serving import SETTINGS, Client, Service, fresh_databases, in_process
from support import Databases

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "screenshots"
WORDS = PICTURES / "words.json"
BYTES_MAX = 200_000
TAKE = os.environ.get("SCREENSHOTS") == "take"
# Zones whose name for the offset is the same all the year.
ZONES = {"en": "Asia/Singapore", "zh-CN": "Asia/Shanghai"}
# What is the same in every run; text in between holds times and ids.
_SAID = """
    [...document.querySelectorAll("h1, h2, h3, th, label, button, nav a, dt")]
      .filter((one) => one.checkVisibility()).map((one) => one.innerText.trim()).filter((text) => text)
"""
# Buyers, what they ordered and what became of it, oldest first.
ORDERS = [
    ("anna", 12800, "PAID"),
    ("ben", 4550, "PAID"),
    ("chen", 39900, "UNPAID"),
    ("dora", 7600, "CANCELLED"),
    ("emil", 21000, "PAID"),
    ("fang", 1990, "PAID"),
    ("anna", 8800, "UNPAID"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop(postgres: Databases) -> AsyncIterator[Service]:
    """A service with a handful of orders and nothing else."""
    settings = replace(SETTINGS, reconcile_seconds=0)
    async with in_process(await fresh_databases(postgres), settings) as running:
        client = running.client
        for user in dict.fromkeys(user for user, _, _ in ORDERS):
            await client.fund(user, 100_000)
        for user, fee, status in ORDERS:
            order = await client.order(user, fee)
            if status == "PAID":
                assert (await client.pay(order["payOrderId"], user)).status == 200
            if status == "CANCELLED":
                assert (await client.post(f"/orders/{order['id']}/cancel", client.token(user))).status == 200
            await client.until_order(order["id"], status)
        yield running


async def _cashier(page: Page, client: Client) -> None:
    order = (await client.get("/orders", client.token("anna"))).json["orders"][0]
    await page.goto(f"{client.url}/cashier/{order['id']}#token={client.token('anna')}")
    await expect(page.locator("#card")).to_have_attribute("data-phase", "open")


async def _payments(page: Page, client: Client) -> None:
    await page.goto(f"{client.url}/console/payments#token={client.token('operator', 'ops')}")
    await expect(page.locator("#live")).to_have_attribute("data-state", "live")
    await expect(page.locator("tbody tr")).to_have_count(len(ORDERS))


PAGES: dict[str, tuple[Any, Any]] = {"cashier": (_cashier, PHONE), "payments": (_payments, DESK)}


@pytest.mark.parametrize("language", ZONES)
@pytest.mark.parametrize("name", PAGES)
async def test_the_pictures_show_the_pages_as_they_are(
    browser: Browser, shop: Service, name: str, language: str
) -> None:
    """Run ``make screenshots`` after a change to what a page says."""
    visit, size = PAGES[name]
    picture = PICTURES / f"{name}-{language}.png"
    async with page_of(browser, size=size, locale=language, timezone_id=ZONES[language]) as page:
        await visit(page, shop.client)
        said = [re.sub(r"\d+", "0", text) for text in await page.evaluate(_SAID)]
        if TAKE:
            await page.screenshot(path=picture, animations="disabled")
            _keep(picture.stem, said)

    assert said == json.loads(WORDS.read_text())[picture.stem]
    content = picture.read_bytes()
    assert len(content) < BYTES_MAX
    assert struct.unpack(">II", content[16:24]) == (size["width"], size["height"])
    readme = ROOT / ("README.md" if language == "en" else "README.zh-CN.md")
    assert f"docs/screenshots/{picture.name}" in readme.read_text()


def _keep(name: str, said: list[str]) -> None:
    PICTURES.mkdir(exist_ok=True)
    words = json.loads(WORDS.read_text()) if WORDS.exists() else {}
    WORDS.write_text(
        json.dumps(dict(sorted({**words, name: said}.items())), indent=2, ensure_ascii=False) + "\n"
    )
