"""``paybell reconcile`` beside a running service: what differs is found, repaired, and then gone."""

import json
from dataclasses import replace
from getpass import getuser
from pathlib import Path
from typing import Any

import pytest
from serving import PEPPER_SETTING, SECRET, SETTINGS, fresh_databases, fresh_user, in_process, run
from support import Databases, connected, until

pytestmark = pytest.mark.asyncio(loop_scope="session")
# The commands alone repair: on a busy machine the schedule's next turn would come first.
UNSCHEDULED = replace(SETTINGS, reconcile_seconds=0)


async def test_orders_that_never_heard_are_found_and_mended(postgres: Databases, tmp_path: Path) -> None:
    """Exit code 1 while something differs; one run with --repair mends it; the next finds nothing."""
    urls = await fresh_databases(postgres)
    settings: dict[str, Any] = {
        "database_url": urls["pay"],
        "trade_database_url": urls["trade"],
        "jwt_secret": SECRET,
        "pin_pepper": PEPPER_SETTING,
    }

    async def reconcile(*arguments: str) -> tuple[int, str]:
        return await run("reconcile", *arguments, log=tmp_path / "log", **settings)

    def summary(said: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        return found

    async with in_process(urls, UNSCHEDULED) as service, connected(urls["trade"]) as rows:
        client, user = service.client, fresh_user()
        await client.fund(user, 1_000)
        orders = [await client.order(user, 100) for _ in range(3)]
        for order in orders:
            await client.pay(order["payOrderId"], user)
            await client.until_order(order["id"], "PAID")
        clean, _ = await reconcile()
        unpay = "UPDATE orders SET status = 'UNPAID', paid_at = NULL WHERE id = ANY($1::bigint[])"
        await rows.execute(unpay, [int(order["id"]) for order in orders[:2]])

        seen, table = await reconcile()
        told, said = await reconcile("--repair", "--json")
        again, last = await reconcile("--json", "--hours", "1")
        actions = (await client.get("/ops/actions", client.shop)).json["actions"]
        after = [await client.get(f"/orders/{order['id']}", client.token(user)) for order in orders]

    assert (clean, seen, told, again) == (0, 1, 0, 0)
    assert table.count("payment not heard") == 2
    assert summary(said) | {"buckets": 0, "rows": []} == {
        "differences": 2,
        "repaired": 2,
        "acknowledged": 0,
        "payOrders": 3,
        "buckets": 0,
        "waiting": 0,
        "kinds": {"payment_not_heard": 2},
        "rows": [],
        "rowsLeftOut": 0,
    }
    assert [(row["pay"]["status"], row["trade"]["status"]) for row in summary(said)["rows"]] == [
        ("TRADE_SUCCESS", "UNPAID")
    ] * 2
    assert summary(last)["differences"] == 0
    assert [reply.json["status"] for reply in after] == ["PAID"] * 3
    assert [(one["database"], one["action"], one["selection"], one["rows"]) for one in actions] == [
        ("pay", "repair", "reconcile", 2),
        ("trade", "repair", "reconcile", 2),
    ]
    assert {one["who"] for one in actions} == {f"cli:{getuser()}"}


async def test_a_difference_that_somebody_looked_into_may_stand(postgres: Databases, tmp_path: Path) -> None:
    """Acknowledged by command or route, withdrawn by the other; each is a row of pay's operator_actions."""
    urls = await fresh_databases(postgres)
    settings: dict[str, Any] = {
        "database_url": urls["pay"],
        "trade_database_url": urls["trade"],
        "jwt_secret": SECRET,
        "pin_pepper": PEPPER_SETTING,
    }

    async def paybell(*arguments: str) -> tuple[int, str]:
        return await run(*arguments, log=tmp_path / "log", **settings)

    async with in_process(urls, UNSCHEDULED) as service:
        client, user = service.client, fresh_user()
        await client.fund(user, 100)
        order = await client.apply(user, 100)
        await client.pay(order["payOrderId"], user)
        number = order["bizOrderNo"]

        async def counted() -> bool:
            return (await paybell("reconcile"))[0] == 1

        await until(counted)  # its event has left the outbox
        nameless = await paybell("acknowledge", number)
        done = await paybell("acknowledge", number, "1", "--note", "sold at the counter")
        clean = await paybell("reconcile")
        operator = client.token("carol", "ops")
        withdrawn = await client.post("/ops/differences/withdraw", operator, {"orders": number})
        again, _ = await paybell("reconcile")
        body = {"orders": f"{number},1", "note": "sold at the counter"}
        acknowledged = await client.post("/ops/differences/acknowledge", operator, body)
        actions = (await client.get("/ops/actions", client.shop)).json["actions"]

    assert nameless[0] == 1
    assert "--note" in nameless[1]
    assert (done[0], done[1].splitlines()[-2:]) == (1, ["1 acknowledged.", "1 does not differ."])
    assert (clean[0], clean[1].splitlines()[-1]) == (
        0,
        "1 pay orders compared, 0 differ, 0 repaired, 1 acknowledged.",
    )
    assert (withdrawn.json, again, acknowledged.json) == ({"orders": [number]}, 1, {"orders": [number]})
    assert [(one["who"], one["action"]) for one in actions] == [
        ("carol", "acknowledge"),
        ("carol", "withdraw acknowledgement"),
        (f"cli:{getuser()}", "acknowledge"),
    ]


async def test_a_file_is_compared_whole_and_the_answer_says_with_what(
    postgres: Databases, tmp_path: Path
) -> None:
    """Our own statement of a merchant fed back is green; with one line less, or more to write, it is not."""
    urls = await fresh_databases(postgres)
    settings: dict[str, Any] = {"database_url": urls["pay"], "trade_database_url": urls["trade"]}
    async with in_process(urls, UNSCHEDULED) as service:
        http, user = service.client, fresh_user()
        await http.fund(user, 1_000, "CNY")
        orders = [await http.order(user, 100, currency="CNY") for _ in range(60)]
        for order in orders[:8]:
            await http.pay(order["payOrderId"], user)
        path, key = f"/pay-orders/{orders[0]['payOrderId']}/refunds", {"Idempotency-Key": "r"}
        assert (await http.send("POST", path, http.shop, {"amount": 30}, headers=key)).status == 201
        token = http.token("shop", "merchants:read")
        own = await http.send("GET", "/merchants/1/transfers", token, headers={"Accept": "text/csv"})
    file = tmp_path / "own.csv"

    async def match(content: str, *arguments: str) -> tuple[int, str]:
        file.write_text(content)
        code, said = await run("reconcile", "--file", str(file), *arguments, log=tmp_path / "log", **settings)
        return code, " ".join(said.split())

    text = own.content.decode()
    whole = await match(text)
    program = await match(text, "--hours", "1", "--json")
    cut = await match("".join(text.splitlines(keepends=True)[:-2]), "--since", "2020-01-01")
    foreign = [f"order-{number},1,CNY\n" for number in range(60)]
    many = await match("reference,amount,currency\n" + "".join(foreign))
    repair = await match(text, "--repair")
    periods = [
        await match(text, *arguments)
        for arguments in (
            ["--since", "yesterday"],
            ["--until", "2026-01-01"],
            ["--hours", "1", "--since", "2020-01-01"],
            ["--since", "2026-01-02", "--until", "2026-01-02"],
        )
    ]
    folder = await run("reconcile", "--file", str(tmp_path), log=tmp_path / "log", **settings)

    assert whole[0] == 0, whole
    assert "Compared: CNY payments and refunds and refunds that came back of merchant 1 from " in whole[1]
    assert whole[1].endswith("9 lines, 9 matched, 0 not; 9 transfers, 0 without a line.")
    summary = json.loads(program[1])
    assert (summary["lines"], summary["transfers"], summary["rows"], summary["rowsLeftOut"]) == (9, 9, [], 0)
    assert (summary["merchant"], summary["currencies"]) == ("1", ["CNY"])
    assert cut[0] == 1
    assert "missing there" in cut[1]
    assert many[0] == 1
    assert "50 of 60; --json has them all." in many[1]
    assert "of no period, since no line is a transfer of ours" in many[1]
    assert repair[0] == folder[0] == 1
    assert "--repair changes nothing of a file; run it without --file." in repair[1]
    assert "cannot be read" in folder[1]
    assert [code for code, _ in periods] == [1, 1, 1, 1]
    assert all("Traceback" not in said for _, said in periods)
