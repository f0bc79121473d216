"""A real Chromium for tests of the pages, and a cashier or console opened in it."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright

from paybell.testing.system_packages import Program, ensure_installed

# Screenshots of a run, to be looked at; git does not see the folder.
SHOTS = Path(__file__).parents[1] / "artefacts" / "screenshots"
SMALL = {"width": 320, "height": 640}
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}


def _find() -> Path | None:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return Path(found) if found else None


CHROMIUM = Program(
    "Chromium",
    _find,
    ("chromium", "fonts-noto-cjk"),
    "install it (`apt-get install chromium` as root) so that `chromium` is on PATH",
)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run a browser without a window."""
    program = ensure_installed(CHROMIUM, print)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-gpu"],  # the tests may run as root and without a display
        )
        yield browser
        await browser.close()


@asynccontextmanager
async def page_of(browser: Browser, *, size: Any = PHONE, **options: Any) -> AsyncIterator[Page]:
    """Open an empty page as a user of their own; what the page complains about fails the test."""
    phone = size is not DESK
    context = await browser.new_context(viewport=size, has_touch=phone, is_mobile=phone, **options)
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: complaints.append(message.text) if "Content Security" in message.text else None,
    )
    try:
        yield page
    finally:
        await context.close()
    assert not complaints, complaints


async def shoot(page: Page, name: str) -> None:
    """Keep a picture of a page as an artefact of the run."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=SHOTS / f"{name}.png", full_page=True, animations="disabled")


async def violations(page: Page) -> list[str]:
    """Return what axe finds wrong with a page for people who cannot see or point: rules with their places."""
    found = (await Axe().run(page)).response["violations"]
    return [f"{one['id']}: {one['help']} ({[node['target'] for node in one['nodes']]})" for one in found]


_WATCH_SHIFTS = """
    window.shifts = [];
    new PerformanceObserver((list) => window.shifts.push(...list.getEntries().map((one) => one.value)))
      .observe({ type: "layout-shift", buffered: true });
"""


async def watch_shifts(page: Page) -> None:
    """Measure from the next load on what moves, as Chromium does; what a click moves counts too."""
    await page.add_init_script(_WATCH_SHIFTS)


async def shifted(page: Page) -> float:
    """Return how much has moved: of the page's area, times how far."""
    return float(await page.evaluate("window.shifts.reduce((sum, one) => sum + one, 0)"))
