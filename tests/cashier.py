"""The cashier page: an order to pay, and what a buyer does there."""

from typing import Any

from playwright.async_api import Page, expect
from serving import Client, fresh_user
from support import PASSWORD

WRONG = "000000"


async def purchase(http: Client, *, balance: int = 5000, fee: int = 1234, **more: Any) -> dict[str, Any]:
    """Return an order of a buyer with this balance."""
    buyer = fresh_user()
    await http.fund(buyer, balance)
    return await http.order(buyer, fee, subject="Two tickets, row 7", **more)


async def open_cashier(page: Page, http: Client, order: dict[str, Any], *, user: str = "") -> None:
    """Open the page as the shop links to it."""
    token = http.token(user or order["buyerId"])
    await page.goto(f"{http.url}/cashier/{order['id']}#token={token}")


async def type_and_pay(page: Page, password: str = PASSWORD) -> None:
    """Press the digits on the pad of a phone, then the button."""
    for digit in password:
        await page.get_by_role("group").get_by_role("button", name=digit, exact=True).click()
    await page.locator("#pay").click()


def phase(page: Page, name: str) -> Any:
    """Expect the page to get there."""
    return expect(page.locator("#card")).to_have_attribute("data-phase", name)
