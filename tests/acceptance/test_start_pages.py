"""What one finds at `/`, and the page on which the API is read and tried."""

import re
from typing import Any

import pytest
from browser import DESK, page_of, shoot, violations
from playwright.async_api import Browser, expect
from serving import Client, fresh_user

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_the_root_says_what_is_here_and_every_link_leads_somewhere(
    browser: Browser, http: Client
) -> None:
    async with page_of(browser, size=DESK) as page:
        await page.goto(f"{http.url}/")
        await expect(page.get_by_role("heading", name="Paybell")).to_be_visible()
        links = await page.evaluate("[...document.links].map((link) => link.href)")
        await shoot(page, "start")
        assert await violations(page) == []

    assert {link.removeprefix(http.url) for link in links} == {
        "/console", "/api", "/schema", "/healthz", "/readyz",
    }  # fmt: skip
    assert [(await http.get(link.removeprefix(http.url))).status for link in links] == [200] * len(links)


async def test_the_api_is_tried_on_a_page_that_asks_nobody_else(browser: Browser, http: Client) -> None:
    """Swagger UI out of a package, under a policy that names nobody but us; what it breaks fails the test."""
    user, asked = fresh_user(), list[str]()
    await http.fund(user, 4200)
    async with page_of(browser, size=DESK) as page:
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(f"{http.url}/api")
        await page.get_by_role("button", name="Authorize").first.click()
        await page.get_by_label("auth-bearer-value").fill(http.token(user))
        await page.get_by_role("button", name="Apply credentials").click()
        await page.get_by_role("button", name="Close", exact=True).click()
        operation = page.locator("#operations-wallets-readWallet")
        await operation.get_by_role("button").first.click()
        await operation.get_by_role("button", name="Try it out").click()
        await operation.get_by_placeholder("user_id").fill(user)
        await operation.get_by_role("button", name="Execute").click()
        await expect(operation.locator(".live-responses-table")).to_contain_text(
            re.compile(r'"balance":\s*4200')
        )
        await shoot(page, "api-page")

    assert {url.partition("://")[2].partition("/")[0] for url in asked if not url.startswith("data:")} == {
        http.url.removeprefix("http://")
    }


async def test_only_two_of_the_packages_files_are_served(http: Client) -> None:
    page = await http.get("/api")
    bundle: Any = await http.get("/api/swagger-ui-bundle.js")

    assert "default-src 'none'; script-src 'self'" in page.headers["Content-Security-Policy"]
    assert bundle.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert (await http.get("/api/swagger-editor.js")).refusal == (404, "not_found")
    assert (await http.get("/api/..%2Fcore.py")).status == 404
