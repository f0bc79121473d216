"""The console's attempts in a real browser: what needs a person, and two people who settle it."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio
from browser import DESK, PHONE, shoot, violations
from consoles import console
from playwright.async_api import Browser, Locator, Page, expect
from serving import SETTINGS, Client, Reply, Service, fresh_databases, fresh_number, in_process
from support import Databases, connected, until
from wallets import INSTEAD, PASSWORD, Between, wallet_service

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A payment of alice's of which nobody knows anything."""

    order: str
    pay_order: str
    attempt: str


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def wallet() -> AsyncIterator[tuple[Between, str]]:
    """A wallet, by what stands before it and its URL."""
    async with wallet_service() as (wallet, between, url):
        wallet.open("alice", PASSWORD, 10_000)
        yield between, url


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def doubt(postgres: Databases, wallet: tuple[Between, str]) -> AsyncIterator[Service]:
    """A service whose wallet has no ids, so that everything uncertain is a person's."""
    settings = replace(
        SETTINGS,
        wallet_url=wallet[1],
        wallet_kind="legacy",
        wallet_refusal=INSTEAD["refused"]().text or "",
        reconcile_seconds=0,
    )
    async with in_process(await fresh_databases(postgres), settings=settings) as running:
        yield running


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def certain(doubt: Service, wallet: tuple[Between, str]) -> None:
    """Let the wallet say something certain first: after five doubts in a row it counts as away."""
    wallet[0].faults = ["refused"]
    order, reply = await asked(doubt.client, 1)
    assert reply.status in range(400, 500), reply.content
    await doubt.client.post(f"/pay-orders/{order['payOrderId']}/close", doubt.client.shop)


async def asked(http: Client, amount: int) -> tuple[dict[str, Any], Reply]:
    """Have alice pay an order; return it, and the answer."""
    body = {"buyerId": "alice", "totalFee": amount, "orderId": str(fresh_number())}
    order = (await http.post("/orders", http.shop, body)).json
    path = f"/pay-orders/{order['payOrderId']}/pay"
    return order, await http.post(path, http.token("alice"), {"payPassword": "my login"})


async def manual(http: Client, amount: int = 1234) -> Doubtful:
    """Make a payment that has to be settled by hand."""
    order, reply = await asked(http, amount)
    assert reply.status == 202, reply.content
    path = f"/pay-orders/{order['payOrderId']}"
    (attempt,) = (await http.get(f"{path}/attempts", http.shop)).json["attempts"]
    return Doubtful(order["orderId"], order["payOrderId"], attempt["attemptId"])


def rows_of(page: Page) -> Locator:
    return page.locator("#attempts tbody tr")


async def test_two_people_settle_what_now_says_is_to_be_done(browser: Browser, doubt: Service) -> None:
    """From *Now* to the attempt; each question names amount and buyer, and each deed is in the audit."""
    http = doubt.client
    one = await manual(http)
    async with console(browser, http, token=http.token("ann", "ops")) as page:
        trouble = page.locator(".trouble", has_text="to be settled by hand")
        await expect(trouble).to_contain_text("two people settle it")
        await trouble.get_by_role("link", name="Attempts").click()
        row = rows_of(page).filter(has_text=one.pay_order)
        await expect(row).to_contain_text(
            re.compile(r"for .*12\.34 CNY.*balance.*to be settled by hand", re.DOTALL)
        )
        await expect(row.get_by_role("link", name=one.pay_order)).to_have_attribute(
            "href", re.compile(f"/payments/{one.pay_order}$")
        )
        await shoot(page, "console-attempts")
        await row.get_by_role("link").first.click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("12.34 CNY · balance")
        await page.get_by_role("button", name="It was paid").click()
        dialog = page.get_by_role("dialog", name="Was 12.34 CNY of alice paid?")
        await dialog.get_by_label("The channel's number").fill("8812")
        answer = dialog.get_by_role("button", name="Ask: 12.34 CNY of alice was paid")
        await answer.click()
        await expect(dialog.get_by_role("alert")).to_contain_text("Say where that stands")
        await dialog.get_by_label("Where that stands").fill("ledger, page 4")
        assert await violations(page) == []
        await shoot(page, "console-attempt-ask")
        await answer.click()
        await expect(page.locator("#advice")).to_contain_text(
            "ann says that it was paid (8812): “ledger, page 4”"
        )
        await expect(page.get_by_role("button", name="Confirm")).to_have_count(0)
    async with console(browser, http, f"/attempts/{one.attempt}", token=http.token("ben", "ops")) as page:
        await page.get_by_role("button", name="Confirm").click()
        dialog = page.get_by_role("dialog", name="Confirm that 12.34 CNY of alice was paid?")
        await expect(dialog).to_contain_text("ledger, page 4")
        await dialog.get_by_label("Where that stands").fill("seen, too")
        await dialog.get_by_role("button", name="Confirm: 12.34 CNY of alice was paid").click()
        await expect(page.locator(".facts .mark")).to_have_text("paid")
        await expect(page.locator("#tools .inline button")).to_have_count(0)
        moments = page.get_by_role("region", name="History").locator("tbody tr")
        await expect(moments).to_have_count(6)
        await expect(moments.nth(4)).to_contain_text(re.compile("a second person confirms.*ben", re.DOTALL))
        await expect(page.get_by_role("region", name="Audit").locator("tbody tr")).to_have_text(
            [re.compile("ben.*confirmed a settlement"), re.compile("ann.*asked to settle")]
        )
        await page.goto(f"{http.url}/console/payments/{one.pay_order}")
        await expect(page.get_by_role("region", name="Audit")).to_contain_text("confirmed a settlement")
        tried = page.get_by_role("region", name="Attempts").locator("tbody tr")
        await expect(tried).to_have_text(re.compile(f"{one.attempt}.*balance.*paid.*by_hand"))
        await expect(page.locator("[data-step=attempt_made]")).to_contain_text("Tried by balance")
        await tried.get_by_role("link").click()
        await expect(page).to_have_url(re.compile(f"/attempts/{one.attempt}$"))
    await http.until_order(one.order, "PAID")


async def test_what_was_asked_for_is_withdrawn_with_the_keyboard_alone(
    browser: Browser, doubt: Service
) -> None:
    http = doubt.client
    one = await manual(http)
    async with console(browser, http, f"/attempts/{one.attempt}", token=http.token("ann", "ops")) as page:
        await page.get_by_role("button", name="It was not paid").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog").get_by_label("Where that stands")).to_be_focused()
        await page.keyboard.type("no such row")
        await page.keyboard.press("Enter")
        await expect(page.locator("#advice")).to_contain_text("ann says that it was not paid: “no such row”")
        await page.get_by_role("link", name="← Attempts").click()
        await expect(rows_of(page).filter(has_text=one.pay_order)).to_contain_text("ann asks to settle it")
        await page.go_back()
        await page.get_by_role("button", name="Withdraw").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog", name="12.34 CNY of alice")).to_contain_text("ann asked")
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await page.get_by_role("button", name="Withdraw").click()
        await page.get_by_role("button", name="Withdraw what ann asked for").click()
        await expect(page.get_by_role("button", name="It was paid")).to_be_visible()
        await expect(page.get_by_role("region", name="Audit").locator("tbody tr").first).to_contain_text(
            "withdrew a settlement"
        )
    again = await http.post(f"/attempts/{one.attempt}/settlements/withdraw", http.token("ben", "ops"))
    assert again.refusal == (409, "settlement_not_asked")


async def test_who_may_only_look_is_offered_nothing(browser: Browser, doubt: Service) -> None:
    one, reader = await manual(doubt.client), doubt.client.token("carol", "ops:read")
    async with console(browser, doubt.client, f"/attempts/{one.attempt}", token=reader) as page:
        await expect(page.locator("#advice")).to_contain_text("Look it up in the channel's records")
        await expect(page.locator("#tools .inline button")).to_have_count(0)
    withdrawing = await doubt.client.post(f"/attempts/{one.attempt}/settlements/withdraw", reader)
    assert withdrawing.refusal == (403, "insufficient_scope")


async def test_a_payments_way_has_what_was_tried_at_channels(doubt: Service) -> None:
    one = await manual(doubt.client)
    found = (await doubt.client.get(f"/ops/payments/{one.order}", doubt.client.shop)).json
    tried = [(step["name"], step["channel"]) for step in found["steps"] if step["channel"]]
    assert tried == [("attempt_made", "balance"), ("attempt_manual", "balance")]
    assert [(its["id"], its["state"]) for its in found["attempts"]] == [(one.attempt, "MANUAL")]


GIVEN_BACK = """
    WITH asked AS (
        INSERT INTO refunds (id, pay_order_id, number, amount, reason, created_at)
        SELECT id + 1, id, 'by hand', 30, '', now() FROM pay_orders WHERE id = $1 RETURNING *
    )
    INSERT INTO channel_refunds (id, attempt_id, refund_id, amount, state, created_at, changed_at,
                                 next_try_at, tries, transaction_id, code, detail, traceparent)
    SELECT id, $2, id, amount, 'PENDING', created_at, created_at, 'infinity', 1, '', 'accepted', '', ''
    FROM asked
"""


async def test_a_refund_is_told_of_as_its_channel_says(doubt: Service) -> None:
    """Asked for and on its way, given back, or refused: this wallet refuses each."""
    http, one = doubt.client, await manual(doubt.client, 100)
    for name in ("ann", "ben"):
        said = {"outcome": "paid", "note": "row 1", "reference": one.attempt}
        settled = await http.post(f"/attempts/{one.attempt}/settlements", http.token(name, "ops"), said)
        assert settled.status == 200

    async def told() -> tuple[list[tuple[str, str]], int]:
        found = (await http.get(f"/ops/payments/{one.pay_order}", http.shop)).json
        steps = [(step["name"], step["state"]) for step in found["steps"]]
        return [step for step in steps if step[0].startswith("refund")], found["possible"]["refundableAmount"]

    async with connected(doubt.urls["pay"]) as rows:
        await rows.execute(GIVEN_BACK, int(one.pay_order), int(one.attempt))
        assert await told() == ([("refund_begun", "done"), ("refunded", "waiting")], 70)
        await rows.execute(
            "UPDATE channel_refunds SET state = 'SUCCEEDED', next_try_at = NULL, changed_at = now() "
            "WHERE attempt_id = $1",
            int(one.attempt),
        )
        assert await told() == ([("refund_begun", "done"), ("refunded", "done")], 100)

    path, key = f"/pay-orders/{one.pay_order}/refunds", {"Idempotency-Key": "r"}
    assert (await http.send("POST", path, http.shop, {"amount": 40}, headers=key)).json[
        "status"
    ] != "SUCCEEDED"

    async def refused() -> bool:
        return ("refund_failed", "done") in (await told())[0]

    await until(refused)
    steps = [
        ("refund_begun", "done"),
        ("refunded", "done"),
        ("refund_begun", "done"),
        ("refund_failed", "done"),
    ]
    assert await told() == (steps, 100)


DISPUTE = """
    INSERT INTO channel_disputes (channel, dispute_id, attempt_id, amount, currency, reason, status,
                                  opened_at)
    VALUES ('balance', 'dp_1', $1, 1234, 'CNY', 'fraudulent', 'needs_response', now())
"""


async def test_now_leads_to_what_is_disputed(browser: Browser, doubt: Service) -> None:
    one = await manual(doubt.client)
    async with connected(doubt.urls["pay"]) as rows:
        await rows.execute(DISPUTE, int(one.attempt))
    async with console(browser, doubt.client) as page:
        trouble = page.locator(".trouble", has_text="1 payment is disputed")
        await trouble.get_by_role("link", name="Attempts").click()
        await expect(rows_of(page)).to_have_count(1)
        await rows_of(page).get_by_role("link").first.click()
        moments = page.get_by_role("region", name="History")
        await expect(moments).to_contain_text(re.compile("the buyer disputes it.*dp_1 · fraudulent"))


MANY = """
    INSERT INTO attempts (id, pay_order_id, channel, kind, state, amount, currency, merchant, created_at,
                          expires_at, changed_at, queries, reference, qr_code, redirect_url, transaction_id,
                          code, detail, traceparent)
    SELECT n, pay_order_id, channel, kind, 'LATE_SUCCESS', amount, currency, merchant, created_at,
           expires_at, changed_at, 0, '', '', '', 'many-' || n, '', '', ''
    FROM attempts, generate_series(1, 150) AS n WHERE id = $1
"""


async def test_all_attempts_are_read_page_by_page_and_by_state(browser: Browser, doubt: Service) -> None:
    http = doubt.client
    one = await manual(http)
    async with connected(doubt.urls["pay"]) as rows:
        await rows.execute(MANY, int(one.attempt))
        late = await rows.fetchval("SELECT count(*) FROM attempts WHERE state = 'LATE_SUCCESS'")
    async with console(browser, http, "/attempts") as page:
        tabs = page.get_by_role("navigation", name="Why they need somebody")
        await expect(tabs.get_by_role("link", name="To be settled")).to_contain_text(re.compile("[1-9]"))
        await tabs.get_by_role("link", name="Long in doubt").click()
        await expect(page.locator("#attempts .empty")).to_have_text("Nothing has been in doubt for long.")
        await tabs.get_by_role("link", name="All").click()
        await page.get_by_label("State").select_option("paid twice or late")
        await expect(rows_of(page)).to_have_count(100)
        await page.get_by_role("link", name="Older").click()
        await expect(rows_of(page)).to_have_count(late - 100)
        await page.reload()
        await expect(rows_of(page)).to_have_count(late - 100)
        await expect(page.get_by_label("State")).to_have_value("LATE_SUCCESS")
        await page.get_by_role("link", name="Newest").click()
        await expect(rows_of(page)).to_have_count(100)


@pytest.mark.parametrize(
    ("size", "locale", "title"),
    [(DESK, "en", "Attempts"), (PHONE, "zh-CN", "渠道支付")],
    ids=["desk-en", "phone-zh"],
)
async def test_attempts_can_be_used_by_all(
    browser: Browser, doubt: Service, size: Any, locale: str, title: str
) -> None:
    """Axe finds nothing and nothing is wider than the window, with a settlement asked for."""
    http = doubt.client
    one = await manual(http)
    asked = {"outcome": "paid", "reference": "8812", "note": "page 4"}
    await http.post(f"/attempts/{one.attempt}/settlements", http.token("ann", "ops"), asked)
    async with console(browser, http, "/attempts", size=size, locale=locale) as page:
        await expect(page.get_by_role("heading", level=1)).to_have_text(title)
        for name, link in (("list", None), ("one", rows_of(page).filter(has_text=one.pay_order))):
            if link is not None:
                await link.get_by_role("link").first.click()
                await expect(page.locator("#advice")).to_contain_text("8812")
            await expect(page.locator(".skeleton, [aria-busy=true]")).to_have_count(0)
            assert await violations(page) == [], name
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
            await shoot(page, f"console-attempts-{name}-{locale}")


NOT_GIVEN_BACK = """
    WITH late AS (
        INSERT INTO attempts (id, pay_order_id, channel, kind, state, amount, currency, merchant, created_at,
                              expires_at, changed_at, queries, reference, qr_code, redirect_url,
                              transaction_id, code, detail, traceparent)
        SELECT id + 1, pay_order_id, channel, kind, 'LATE_SUCCESS', amount, currency, merchant, created_at,
               expires_at, changed_at, 0, '', '', '', 'late-' || id, '', '', ''
        FROM attempts WHERE id = $1 RETURNING *
    )
    INSERT INTO channel_refunds (id, attempt_id, amount, state, created_at, changed_at, tries, transaction_id,
                                 code, detail, traceparent)
    SELECT id, id, amount, 'FAILED', now(), now(), 1, '', 'ABNORMAL', 'the account is closed', '' FROM late
"""


async def test_two_people_settle_what_the_channel_refuses_to_give_back(
    browser: Browser, doubt: Service
) -> None:
    http, one = doubt.client, await manual(doubt.client)
    async with connected(doubt.urls["pay"]) as rows:
        await rows.execute(NOT_GIVEN_BACK, int(one.attempt))
    said = {"outcome": "given_back", "note": "by bank, 4 May", "reference": "bank-7"}
    late = f"/attempts/{int(one.attempt) + 1}"
    async with console(browser, http, token=http.token("ann", "ops")) as page:
        trouble = page.locator(".trouble", has_text="could not be given back")
        await trouble.get_by_role("link", name="Attempts").click()
        await expect(rows_of(page)).to_have_count(1)
        await rows_of(page).get_by_role("link").first.click()
        await expect(page.locator("#advice")).to_contain_text("refuses to give it back for good")
        await page.get_by_role("button", name="It was given back").click()
        dialog = page.get_by_role("dialog", name="Were 12.34 CNY given back to alice?")
        await dialog.get_by_label("The channel's number").fill(said["reference"])
        await dialog.get_by_label("Where that stands").fill(said["note"])
        await dialog.get_by_role("button", name="Ask: 12.34 CNY were given back").click()
        await expect(page.locator("#advice")).to_contain_text(
            "ann says that the money was given back (bank-7)"
        )
        assert (await http.post(f"{late}/settlements", http.token("ben", "ops"), said)).status == 200
        await page.get_by_role("button", name="Reload").click()
        await expect(page.get_by_role("region", name="History")).to_contain_text("money has gone back")
        await expect(page.locator("#tools .inline button")).to_have_count(0)
    assert (await http.get(late, http.shop)).json["givenBack"] == "SUCCEEDED"
