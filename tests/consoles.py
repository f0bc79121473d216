"""The operations console opened in a real browser, and what its tests make first."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from browser import DESK, page_of
from playwright.async_api import Browser, Page, expect
from serving import Client, fresh_number, fresh_user
from support import until


@asynccontextmanager
async def console(browser: Browser, client: Client, path: str = "", **options: Any) -> AsyncIterator[Page]:
    """Open a page of the console as an operator does."""
    token = options.pop("token", None) or client.token("operator", "ops")
    async with page_of(browser, size=options.pop("size", DESK), **{"locale": "en-GB", **options}) as page:
        await page.goto(f"{client.url}/console{path}#token={token}")
        await expect(page.locator("#live")).to_have_attribute("data-state", "live")
        yield page


async def paid_order(client: Client, fee: int = 1234) -> dict[str, Any]:
    """Return an order that is paid and knows it."""
    user = fresh_user()
    await client.fund(user, fee)
    order = await client.order(user, fee)
    assert (await client.pay(order["payOrderId"], user)).status == 200
    await client.until_order(order["id"], "PAID")
    return order


async def unheard_payment(client: Client) -> tuple[str, str]:
    """Return an order number and its buyer: paid at pay, and dead at trade, which knows no such order."""
    user, number = fresh_user(), str(fresh_number())
    await client.fund(user, 500)
    pay_order = await client.apply(user, 500, bizOrderNo=number)
    assert (await client.pay(pay_order["payOrderId"], user)).status == 200

    async def dead() -> bool:
        page = (await client.get("/ops/failures", client.shop)).json
        return any(one["eventId"] == f"pay.success:{number}" for one in page["failures"])

    await until(dead)
    return number, user


async def latest(client: Client) -> dict[str, Any]:
    """Return the newest sample."""
    reply = await client.get("/ops/now?samples=1", client.shop)
    frame = reply.content.decode().strip().split("\n\n")[-1]
    sample: dict[str, Any] = msgspec.json.decode(frame.partition("data: ")[2])
    return sample


async def choice_of(page: Page, reason: str) -> str:
    """Return the words under which a reason can be chosen among dead letters."""
    option = page.locator("#group option", has_text=reason).first
    await expect(option).to_be_attached()
    return await option.inner_text()
