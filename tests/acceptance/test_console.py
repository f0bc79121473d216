"""The operations console in a real browser, and the routes behind it."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from browser import DESK, PHONE, page_of, shoot, violations
from playwright.async_api import Browser, Dialog, Page, expect
from serving import SETTINGS, Client, Service, fresh_databases, fresh_number, fresh_user, in_process
from support import Databases, connected, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

STEPS = [
    "order_created",
    "pay_order_created",
    "paid",
    "committed",
    "published",
    "confirmed",
    "delivered",
    "applied",
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own(postgres: Databases) -> AsyncIterator[Service]:
    """A service of this module's own: the console shows everything, and repairs only what it is told."""
    settings = replace(SETTINGS, reconcile_seconds=0)
    async with in_process(await fresh_databases(postgres), settings) as running:
        yield running


@asynccontextmanager
async def console(browser: Browser, client: Client, **options: Any) -> AsyncIterator[Page]:
    """Open the console as an operator does."""
    async with page_of(browser, size=options.pop("size", DESK), **{"locale": "en-GB", **options}) as page:
        await page.goto(f"{client.url}/console#token={client.token('operator', 'ops')}")
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


# Now -------------------------------------------------------------------------------------------


async def test_the_console_shows_how_payments_go(browser: Browser, own: Service) -> None:
    async with console(browser, own.client) as page:
        for _ in range(5):
            await paid_order(own.client)
        rate = page.locator(".card", has_text="Payments per second").locator(".number")
        await expect(rate).to_have_text(re.compile(r"^[0-9]+"), timeout=15_000)
        await expect(page.locator(".card", has_text="From paid to order paid")).to_contain_text(
            "ms", timeout=15_000
        )
        await expect(page.locator("#queues")).to_contain_text("trade.pay.success.queue")
        assert await violations(page) == []
        await shoot(page, "console-now")


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


# One payment -----------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["id", "payOrderId", "event", "transfer"])
async def test_a_payment_is_found_by_any_of_its_ids(own: Service, by: str) -> None:
    order = await paid_order(own.client)
    async with connected(own.urls["pay"]) as rows:
        query = "SELECT id FROM transfers WHERE kind = 'payment' AND reference = $1"
        transfer = await rows.fetchval(query, order["payOrderId"])
    names = {"event": f"pay.success:{order['id']}", "transfer": str(transfer)} | order

    found = (await own.client.get(f"/ops/payments/{names[by]}", own.client.shop)).json

    assert (found["bizOrderNo"], found["payOrderId"]) == (order["id"], order["payOrderId"])
    assert (found["payStatus"], found["orderStatus"]) == ("TRADE_SUCCESS", "PAID")
    assert {step["name"] for step in found["steps"]} == set(STEPS)
    assert {step["state"] for step in found["steps"]} == {"done"}
    assert [one["kind"] for one in found["transfers"]] == ["payment"]
    assert [one["state"] for one in found["messages"]] == ["applied"]


async def test_the_timeline_says_what_has_not_happened(own: Service) -> None:
    client = own.client
    user = fresh_user()
    await client.fund(user, 100)
    order = await client.order(user, 100)
    unpaid = (await client.get(f"/ops/payments/{order['id']}", client.shop)).json
    number, _ = await unheard_payment(client)
    unheard = (await client.get(f"/ops/payments/{number}", client.shop)).json

    assert [(step["name"], step["state"]) for step in unpaid["steps"]][-1] == ("paid", "waiting")
    assert [(step["name"], step["state"]) for step in unheard["steps"]][-1] == ("applied", "waiting")
    assert [(one["state"], one["reason"]) for one in unheard["messages"]] == [("dead", "order_not_found")]
    assert (await client.get("/ops/payments/999", client.shop)).refusal == (404, "pay_order_not_found")
    assert (await client.get("/ops/payments/x", client.shop)).refusal == (404, "pay_order_not_found")


async def test_a_refund_is_part_of_the_way(own: Service) -> None:
    client, order = own.client, await paid_order(own.client)
    path = f"/pay-orders/{order['payOrderId']}/refunds"
    reply = await client.send("POST", path, client.shop, {"amount": 200}, headers={"Idempotency-Key": "r"})
    await client.until_order(order["id"], "PARTIALLY_REFUNDED")

    found = (await client.get(f"/ops/payments/{reply.json['refundId']}", client.shop)).json

    assert (found["refundedAmount"], found["steps"][-1]["name"]) == (200, "refunded")
    assert [one["kind"] for one in found["transfers"]] == ["payment", "refund"]


async def test_the_page_shows_a_payments_way(browser: Browser, own: Service) -> None:
    order = await paid_order(own.client)
    async with console(browser, own.client) as page:
        await page.get_by_label("Order, pay order, refund, transfer or event id").fill(order["payOrderId"])
        await page.get_by_role("button", name="Find").click()
        await expect(page.locator(".way li")).to_have_count(len(STEPS))
        await expect(page.locator("#timeline")).to_contain_text("TRADE_SUCCESS · PAID")
        assert await violations(page) == []
        await shoot(page, "console-payment")
        await page.get_by_label("Order, pay order").fill("1")
        await page.get_by_role("button", name="Find").click()
        await expect(page.get_by_role("alert")).to_contain_text("There is no such pay order")


# Dead letters ----------------------------------------------------------------------------------


async def test_a_dead_letter_is_read_and_replayed_after_its_cause_is_mended(
    browser: Browser, own: Service
) -> None:
    number, user = await unheard_payment(own.client)
    async with console(browser, own.client) as page:
        row = page.locator("#failures tr", has_text=f"pay.success:{number}")
        await row.get_by_role("button", name="Open").click()
        await expect(page.get_by_role("dialog")).to_contain_text("there is no order of this number")
        await expect(page.locator("#letter-body")).to_have_text(number)
        assert await violations(page) == []
        await shoot(page, "console-dead-letter")
        await own.client.order(user, 500, orderId=number)
        await page.get_by_role("button", name="Replay this one").click()
        await expect(page.locator("#replay-state")).to_have_text("1 handed to their listeners.")
        await expect(page.locator("#actions li").first).to_have_text(
            re.compile(r" · operator · replay · by number · 1 row$")
        )
    await own.client.until_order(number, "PAID")


async def test_a_dead_letter_is_given_up(browser: Browser, own: Service) -> None:
    number, _ = await unheard_payment(own.client)
    async with console(browser, own.client) as page:
        row = page.locator("#failures tr", has_text=number)
        await row.get_by_role("checkbox").check()
        await page.get_by_role("button", name="Give up selected (1)").click()
        await expect(page.locator("#replay-state")).to_contain_text("1 given up")
        await expect(row).to_have_count(0)


async def test_all_of_a_reason_are_replayed_with_their_progress(browser: Browser, own: Service) -> None:
    letters = [await unheard_payment(own.client) for _ in range(3)]
    async with console(browser, own.client) as page:
        await page.get_by_label("Which").select_option(label=await _option(page, "order_not_found"))
        await expect(page.locator("#failures tr")).to_have_count(await _dead(own.client))
        for number, user in letters:
            await own.client.order(user, 500, orderId=number)
        await shoot(page, "console-dead-letters")
        await page.locator("#replay-all").click()
        await expect(page.locator("#replay-state")).to_contain_text("handed to their listeners")
    for number, _ in letters:
        await own.client.until_order(number, "PAID")


async def test_all_that_are_selected_are_replayed_however_many(browser: Browser, own: Service) -> None:
    """The service takes 200 ids in one request, and sends 100 rows at once."""
    async with connected(own.urls["trade"]) as rows, console(browser, own.client) as page:
        await rows.execute(
            "INSERT INTO failed_deliveries (listener, event_id, state, reason, error, attempts, exchange, "
            "routing_key, content_type, headers, body, first_failed_at, last_failed_at) "
            "SELECT 'nobody', n, 'dead', 'many', '', 1, '', '', '', '{}', '', now(), now() "
            "FROM generate_series(1, 450) AS n"
        )
        await page.locator("#reload").click()
        await page.get_by_label("Which").select_option(label=await _option(page, "many"))
        for shown in (200, 300, 400, 450):
            await page.locator("#more").click()
            await expect(page.locator("#failures tr")).to_have_count(shown)
        await page.locator("#select-all").check()
        await page.locator("#replay-selected").click()
        await expect(page.locator("#replay-state")).to_have_text("450 handed to their listeners.")
        query = "DELETE FROM failed_deliveries WHERE reason = 'many' RETURNING state"
        assert [row["state"] for row in await rows.fetch(query)] == ["retry"] * 450


async def test_a_link_to_a_section_leaves_what_was_found(browser: Browser, own: Service) -> None:
    """Neither the payment that was looked up nor what was selected is lost on the way."""
    order = await paid_order(own.client)
    await unheard_payment(own.client)
    async with console(browser, own.client) as page:
        await page.get_by_label("Order, pay order, refund, transfer or event id").fill(order["id"])
        await page.get_by_role("button", name="Find").click()
        await expect(page.locator("#timeline .way li").first).to_be_visible()
        await page.locator("#select-all").check()
        for name in ("Dead letters", "Books", "One payment"):
            await page.get_by_role("navigation").get_by_role("link", name=name).click()

        assert page.url.endswith("#payment")
        await expect(page.locator("#timeline .way li").first).to_be_visible()
        await expect(page.locator("#select-all")).to_be_checked()


async def _option(page: Page, reason: str) -> str:
    option = page.locator("#group option", has_text=reason).first
    await expect(option).to_be_attached()
    return await option.inner_text()


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


# The books -------------------------------------------------------------------------------------


async def test_a_difference_is_shown_and_mended(browser: Browser, own: Service) -> None:
    order = await paid_order(own.client)
    async with connected(own.urls["trade"]) as rows:
        await rows.execute(
            "UPDATE orders SET status = 'UNPAID', paid_at = NULL, version = 0 WHERE id = $1", int(order["id"])
        )
    async with console(browser, own.client) as page:
        await page.get_by_role("button", name="Compare", exact=True).click()
        await expect(page.locator("#differences")).to_contain_text("payment not heard", timeout=20_000)
        await expect(page.locator("#differences")).to_contain_text(order["id"])
        assert await violations(page) == []
        await shoot(page, "console-books")
        await page.get_by_role("button", name="Compare and repair").click()
        await own.client.until_order(order["id"], "PAID")
        await expect(page.locator("#compared")).to_contain_text("1 repaired", timeout=20_000)
    actions = (await own.client.get("/ops/actions", own.client.shop)).json["actions"]
    assert [one["database"] for one in actions if one["action"] == "repair"] == ["pay", "trade"]


async def test_a_difference_is_acknowledged_with_its_reason(browser: Browser, own: Service) -> None:
    user = fresh_user()
    await own.client.fund(user, 1)
    order = await own.client.apply(user, 1)
    await own.client.pay(order["payOrderId"], user)

    async def answer(dialog: Dialog) -> None:
        await dialog.accept("sold at the counter")

    async with console(browser, own.client) as page:
        page.on("dialog", answer)
        row = page.locator("#differences tr", has_text=order["bizOrderNo"])

        async def compared() -> bool:
            await page.get_by_role("button", name="Compare", exact=True).click()
            await expect(page.locator("#compared")).to_contain_text("acknowledged")
            return await row.count() == 1

        await until(compared)  # its event has left the outbox
        await row.get_by_role("button", name="Acknowledge").click()
        await expect(row).to_have_count(0)
    actions = (await own.client.get("/ops/actions", own.client.shop)).json["actions"]
    assert (actions[0]["action"], actions[0]["selection"]) == ("acknowledge", "sold at the counter")


# Who may, and how it looks ---------------------------------------------------------------------


async def test_without_the_scope_the_page_says_how_to_get_in(browser: Browser, own: Service) -> None:
    async with page_of(browser, size=DESK, locale="en") as page:
        await page.goto(f"{own.client.url}/console#token={own.client.token('eve', 'orders:read')}")
        await expect(page.get_by_role("alert")).to_contain_text("--scope ops")


@pytest.mark.parametrize(("scheme", "size", "locale"), [("dark", DESK, "zh-CN"), ("light", PHONE, "en")])
async def test_axe_finds_nothing(browser: Browser, own: Service, scheme: Any, size: Any, locale: str) -> None:
    await unheard_payment(own.client)
    async with console(browser, own.client, color_scheme=scheme, size=size, locale=locale) as page:
        await expect(page.locator("#failures tr").first).to_be_visible()
        await expect(page.locator("#troubles li")).not_to_have_count(0)
        assert await violations(page) == []
        await shoot(page, f"console-{scheme}-{locale}")
