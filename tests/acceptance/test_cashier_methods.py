"""The cashier page over the sandbox in a real browser: an order paid by each method, switched, and twice."""

import base64
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import zxingcpp
from browser import DESK, PHONE, SMALL, page_of, shifted, shoot, violations, watch_shifts
from cashier import phase
from playwright.async_api import Browser, Page, expect
from serving import SETTINGS, Client, fresh_databases, fresh_user, in_process
from support import PASSWORD, Databases, until
from wallet_service import Wallet
from wallets import PASSWORD as WALLET_PASSWORD
from wallets import Between, wallet_service

from paybell.clock import SystemClock
from paybell.sandbox.setup import Setup
from paybell.testing.ports import free_port

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SHIFT_MOST = 0.02
GREY = """async (png) => {
  const picture = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
  const { width, height } = picture;
  const drawing = new OffscreenCanvas(width, height).getContext("2d");
  drawing.drawImage(picture, 0, 0);
  const { data } = drawing.getImageData(0, 0, width, height);
  return { width, height, grey: Array.from({ length: width * height }, (_, at) => data[4 * at]) };
}"""


@dataclass(frozen=True, slots=True)
class Shop:
    """A client of a service, and the URL of the sandbox of its channels."""

    http: Client
    sandbox: str

    async def pay(self, channel: str, token: str) -> None:
        """Pay a window on its page, as the sandbox's buyer."""
        async with (
            aiohttp.ClientSession() as phone,
            phone.post(f"{self.sandbox}/sandbox/{channel}/pay/{token}") as done,
        ):
            assert done.status == 200, await done.text()

    async def fail(self, channel: str, fault: dict[str, str]) -> None:
        """Have something go wrong once at a channel."""
        async with aiohttp.ClientSession() as operator:
            await operator.post(f"{self.sandbox}/sandbox/{channel}/faults", json=fault)

    async def attempts(self, order: dict[str, Any]) -> list[tuple[str, str]]:
        """Return the attempts of an order: channel and state."""
        path, token = f"/pay-orders/{order['payOrderId']}/attempts", self.http.token(order["buyerId"])
        return [(one["channel"], one["state"]) for one in (await self.http.get(path, token)).json["attempts"]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop(postgres: Databases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    """A service that offers all channels of a sandbox."""
    setup, port = Setup(tmp_path_factory.mktemp("sandbox") / "keys", SystemClock()), free_port()
    async with setup.sandbox.serving() as url:
        fields: dict[str, Any] = dict(setup.settings(url, f"http://127.0.0.1:{port}"))
        settings = replace(SETTINGS, port=port, **fields)
        async with in_process(await fresh_databases(postgres), settings, port=port) as running:
            yield Shop(running.client, url)


@dataclass(frozen=True, slots=True)
class Remote:
    """A client of a service that pays out of a remote wallet, the wallet, and what stands between them."""

    http: Client
    wallet: Wallet
    between: Between


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def remote(postgres: Databases) -> AsyncIterator[Remote]:
    async with wallet_service() as (wallet, between, url):
        wallet.open("alice", WALLET_PASSWORD, 10_000)
        settings = replace(SETTINGS, wallet_url=url)
        async with in_process(await fresh_databases(postgres), settings=settings) as running:
            yield Remote(running.client, wallet, between)


async def open_cashier(page: Page, http: Client, *, balance: int = 5000, buyer: str = "") -> dict[str, Any]:
    """Open the page of a new order."""
    buyer = buyer or fresh_user()
    if balance:
        await http.fund(buyer, balance)
    order = await http.order(buyer, 1234, subject="Two tickets, row 7")
    await page.goto(f"{http.url}/cashier/{order['id']}#token={http.token(buyer)}")
    await phase(page, "open")
    return order


def method(page: Page, name: str) -> Any:
    """Return the button of a method."""
    return page.locator("#methods").get_by_role("button", name=name, exact=True)


async def scanned(page: Page) -> str:
    """Return what a phone reads off the picture of the code."""
    await expect(page.locator("#qr")).to_be_visible()
    png = base64.b64encode(await page.locator("#code").screenshot()).decode()
    blank = await page.context.new_page()
    seen = await blank.evaluate(GREY, png)
    await blank.close()
    [code] = zxingcpp.read_barcodes(
        memoryview(bytes(seen["grey"])).cast("B", (seen["height"], seen["width"]))
    )
    return str(code.text)


# Paying ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "channel", "begins"),
    [("Alipay", "alipay", "http://127.0.0.1:"), ("WeChat", "wechat", "weixin://wxpay/bizpayurl?pr=")],
)
async def test_an_order_is_paid_by_the_code_that_the_page_shows(
    browser: Browser, shop: Shop, name: str, channel: str, begins: str
) -> None:
    async with page_of(browser, locale="en", color_scheme="dark") as page:
        await open_cashier(page, shop.http)
        await method(page, name).click()
        code = await scanned(page)
        assert code.startswith(begins)
        await shoot(page, f"cashier-{channel}")
        await shop.pay(channel, re.split("[/=]", code)[-1])
        await phase(page, "confirmed")
        await expect(page.get_by_role("status")).to_contain_text(f"CN¥12.34 was paid by {name}.")


async def test_an_order_is_paid_by_card_on_a_page_of_its_own_and_the_buyer_comes_back(
    browser: Browser, shop: Shop
) -> None:
    """Who has no wallet here may do so, too."""
    async with page_of(browser, locale="en") as page:
        await open_cashier(page, shop.http, balance=0)
        await expect(page.get_by_role("alert")).to_contain_text("You have no wallet")
        await method(page, "Card").press("Enter")
        await shoot(page, "cashier-card")
        await page.get_by_role("link", name="Pay CN¥12.34 by card").click()
        await page.get_by_role("button", name="Pay (simulated)").click()
        await phase(page, "confirmed")
        await expect(page.get_by_role("status")).to_contain_text("CN¥12.34 was paid by card.")


async def test_another_method_closes_the_window_and_a_reload_keeps_it(browser: Browser, shop: Shop) -> None:
    async with page_of(browser, locale="en") as page:
        order = await open_cashier(page, shop.http)
        await method(page, "Alipay").click()
        await expect(page.locator("#qr")).to_be_visible()
        await page.get_by_role("button", name="Pay on Alipay's page instead").click()
        await expect(page.get_by_role("link", name="Pay CN¥12.34 by Alipay")).to_have_attribute(
            "href", re.compile("^http")
        )
        await method(page, "WeChat").click()
        await expect(page.locator("#qr")).to_be_visible()
        states = dict(await shop.attempts(order))
        assert states["wechat"] == "OPEN"
        await page.reload()
        await expect(page.locator("#qr")).to_be_visible()
        await expect(method(page, "WeChat")).to_have_attribute("aria-pressed", "true")
        await page.keyboard.type("1")  # a digit of nothing
        await method(page, "Balance").click()
        await page.keyboard.type(PASSWORD)
        await page.locator("#pay").click()
        await phase(page, "confirmed")
        await expect(page.get_by_role("status")).to_contain_text("out of your balance")

        async def is_closed() -> bool:
            return ("wechat", "CLOSED") in await shop.attempts(order)

        await until(is_closed)


async def test_who_pays_twice_reads_that_one_is_on_its_way_back(browser: Browser, shop: Shop) -> None:
    """Its window could not be closed when the order was paid another way."""
    async with page_of(browser, locale="en") as page:
        order = await open_cashier(page, shop.http)
        await method(page, "WeChat").click()
        token = (await scanned(page)).partition("=")[2]
        await shop.fail("wechat", {"operation": "close", "fault": "fail_before"})
        await shop.http.pay(order["payOrderId"], order["buyerId"])
        await phase(page, "confirmed")
        await shop.pay("wechat", token)
        await expect(page.get_by_role("alert")).to_contain_text(
            "You have paid twice: CN¥12.34 by WeChat is on its way back to you by itself."
        )
        assert await violations(page) == []
        await shoot(page, "cashier-twice")


async def test_a_channel_that_refuses_is_said_and_tried_again(browser: Browser, shop: Shop) -> None:
    fault = {"operation": "open", "fault": "code", "code": "ACQ.INVALID_PARAMETER"}
    async with page_of(browser, locale="en") as page:
        await open_cashier(page, shop.http)
        await shop.fail("alipay", fault)
        await method(page, "Alipay").click()
        await expect(page.get_by_role("alert")).to_contain_text("refused this payment")
        await page.get_by_role("button", name="Try again").click()
        await expect(page.locator("#qr")).to_be_visible()
        await expect(page.locator("#message")).to_be_empty()


# A remote wallet -------------------------------------------------------------------------------


async def test_a_remote_wallet_asks_for_its_own_password(browser: Browser, remote: Remote) -> None:
    async with page_of(browser, locale="en") as page:
        await watch_shifts(page)
        await open_cashier(page, remote.http, balance=0, buyer="alice")
        await expect(page.locator("#balance")).to_be_hidden()
        await expect(page.locator("#walletPassword")).to_be_focused()
        await page.keyboard.type("wrong")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("password")
        await page.keyboard.type(WALLET_PASSWORD)
        assert await violations(page) == []
        assert await shifted(page) <= SHIFT_MOST
        await shoot(page, "cashier-remote")
        await page.keyboard.press("Enter")
        await phase(page, "confirmed")


async def test_a_doubt_is_being_confirmed_until_it_is_decided(browser: Browser, remote: Remote) -> None:
    async with page_of(browser, locale="en") as page:
        await open_cashier(page, remote.http, balance=0, buyer="alice")
        remote.between.faults = ["fails"]
        await page.locator("#walletPassword").fill(WALLET_PASSWORD)
        await page.locator("#pay").click()
        await phase(page, "confirming")
        await expect(page.get_by_role("status")).to_contain_text("Your payment is being confirmed")
        assert await violations(page) == []
        await shoot(page, "cashier-confirming")
        await page.reload()
        await phase(page, "confirmed")


# What is offered -------------------------------------------------------------------------------


async def test_only_what_takes_this_order_is_offered_and_only_to_who_may_see_it(shop: Shop) -> None:
    async def offered(order: dict[str, Any], token: str) -> Any:
        reply = await shop.http.get(f"/pay-orders/{order['payOrderId']}/methods", token)
        return [one["channel"] for one in reply.json["methods"]] if reply.status == 200 else reply.refusal

    buyer = fresh_user()
    token = shop.http.token(buyer)
    yuan = await shop.http.order(buyer, 1234)
    dollars = await shop.http.order(buyer, 1234, currency="USD")
    short = await shop.http.apply(buyer, 1234, expiresInSeconds=100)
    assert await offered(yuan, token) == ["balance", "alipay", "alipay_page", "wechat", "stripe"]
    assert await offered(dollars, token) == ["balance", "stripe"]
    assert await offered(short, token) == ["balance", "alipay", "alipay_page"]
    assert await offered(yuan, shop.http.token(fresh_user())) == (403, "not_the_payer")
    await shop.http.post(f"/orders/{yuan['id']}/cancel", token)
    assert await offered(yuan, token) == []


@pytest.mark.parametrize(
    ("size", "scheme", "locale"), [(SMALL, "dark", "zh"), (PHONE, "light", "en"), (DESK, "dark", "en")]
)
async def test_every_method_is_accessible_at_every_width_and_nothing_moves(
    browser: Browser, shop: Shop, size: Any, scheme: Any, locale: str
) -> None:
    async with page_of(browser, size=size, color_scheme=scheme, locale=locale) as page:
        await watch_shifts(page)
        await open_cashier(page, shop.http)
        for at, shown in ((1, "#qr"), (2, "#qr"), (3, "#leave[href]"), (0, "#pay")):
            await page.locator("#methods button").nth(at).focus()
            await page.keyboard.press("Enter")
            await expect(page.locator(shown)).to_be_visible()
            assert await violations(page) == []
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert await page.evaluate("document.activeElement !== document.body")
        assert await shifted(page) <= SHIFT_MOST
